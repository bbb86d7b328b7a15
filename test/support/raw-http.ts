/** Requests as they are written here: nothing is normalised, decoded or followed, and `100 Continue` is seen. */
import http from 'node:http';

export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly text: string;
  /** Whether the server asked for the body of a request with `Expect: 100-continue`. */
  readonly continued: boolean;
}

export interface RawRequest {
  readonly method?: string;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: Uint8Array | string;
  /** Sends `Expect: 100-continue` and the body only once the server has asked for it. */
  readonly expect?: boolean;
  /** Address of this machine from which to connect. */
  readonly localAddress?: string;
}

/** @param base `http://host:port`, to which `path` is appended letter by letter */
export function send(base: string, path: string, init: RawRequest = {}): Promise<Reply> {
  const { method = 'GET', headers = {}, body, expect = false, localAddress } = init;
  const url = new URL(base);
  const bytes = body === undefined ? undefined : Buffer.from(body);
  return new Promise((resolve, reject) => {
    let continued = false;
    const request = http.request({
      host: url.hostname,
      port: url.port,
      // An absolute path of the base, for caches below the API host.
      path: `${url.pathname === '/' ? '' : url.pathname}${path}`,
      method,
      agent: false,
      ...(localAddress !== undefined && { localAddress }),
      headers: {
        ...(bytes && !('transfer-encoding' in headers) && { 'content-length': bytes.length }),
        ...(expect && { expect: '100-continue' }),
        ...headers,
      },
    });
    request.on('error', reject);
    request.on('continue', () => {
      continued = true;
      request.end(bytes);
    });
    request.on('response', (response) => {
      const pieces: Buffer[] = [];
      response.on('error', reject);
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('end', () => {
        const all = Buffer.concat(pieces);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: all,
          text: all.toString('utf8'),
          continued,
        });
        if (expect && !continued) request.destroy();
      });
    });
    if (expect) request.flushHeaders();
    else request.end(bytes);
  });
}

/** PUT with a token. */
export function put(
  base: string,
  path: string,
  body: Uint8Array | string,
  headers: http.OutgoingHttpHeaders = {},
): Promise<Reply> {
  return send(base, path, { method: 'PUT', body, headers });
}
