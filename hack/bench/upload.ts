/** The least that a client of S3 can do: PUTs of URLs that were signed before. */
import http from 'node:http';

/** @throws Error for any answer but 200 */
export function putTo(agent: http.Agent, url: string, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'PUT', agent, headers: { 'Content-Length': body.length } });
    request.on('error', reject);
    request.on('response', (response) => {
      response.resume();
      response.on('end', () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`PUT: ${response.statusCode}`)),
      );
    });
    request.end(body);
  });
}
