// One request from a pod; status, headers and body of its answer as a line of JSON, byte for byte.
// `node ask-main.ts '{"url": "https://...", "method": "GET", "headers": {}}'`
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';

/** As `node ask-main.ts` takes it. */
export interface Question {
  readonly url: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

const { url, method = 'GET', headers = {} } = JSON.parse(process.argv[2] ?? '') as Question;
const { request } = url.startsWith('https:') ? https : http;
// The name of the certificate is that of the URL, whatever the header says.
const { hostname: servername } = new URL(url);
const outgoing = request(url, { method, headers, servername, agent: false } as https.RequestOptions);
outgoing.on('response', async (answer: IncomingMessage) => {
  const text = (await answer.setEncoding('latin1').toArray()).join('');
  console.log(JSON.stringify({ status: answer.statusCode, headers: answer.headers, text }));
});
outgoing.on('upgrade', (answer, socket) => {
  console.log(JSON.stringify({ status: answer.statusCode, headers: answer.headers, text: '' }));
  socket.destroy();
});
outgoing.end();
