/**
 * A reverse proxy that answers chosen requests with a fault of its own, before or after the server has seen them.
 *
 * All else goes through as it came, the Host header too: signatures that were made for the proxy's address hold.
 */
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';

export interface Fault {
  /** `drop` cuts the connection instead of answering, `hang` leaves it open. */
  readonly status: number | 'drop' | 'hang';
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
  /** Whether the server carries the request out all the same, so that only its answer is lost. */
  readonly forward: boolean;
}

/** The server's own answer, cut off after so many bytes of its body. */
export interface Cut {
  readonly cutAfterBytes: number;
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
}

/** Decides on each request; undefined lets it pass. */
export type Fate = (request: Seen) => Fault | Cut | undefined;

/** How the proxy shows itself to a server that speaks TLS, as PEM. */
export interface ProxyTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export class FaultProxy {
  /** Where requests go: `http://host:port`, or `https://host:port` if it has been given credentials. */
  target = '';
  fate: Fate = () => undefined;
  /** How long each request waits here before it goes on. */
  latencyMs = 0;
  /** Every request, in order of arrival. */
  readonly seen: Seen[] = [];
  readonly #server = http.createServer((request, response) => this.#handle(request, response));
  readonly #agent: http.Agent;
  readonly #request: typeof http.request;

  private constructor(tls: ProxyTls | undefined) {
    this.#agent =
      tls === undefined ? new http.Agent({ keepAlive: true }) : new https.Agent({ keepAlive: true, ...tls });
    this.#request = tls === undefined ? http.request : https.request;
  }

  static async start(tls?: ProxyTls): Promise<FaultProxy> {
    const proxy = new FaultProxy(tls);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** `http://localhost:port`, fit for `--api-url`. */
  get url(): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const seen = { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
    this.seen.push(seen);
    const fate = this.fate(seen);
    if (this.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, this.latencyMs));
    // The client may have lost its patience meanwhile.
    if (response.destroyed) return;
    if (fate !== undefined && 'status' in fate && !fate.forward) {
      request.resume();
      request.on('end', () => fail(fate, response));
      return;
    }
    const target = new URL(this.target);
    const onward = this.#request(
      {
        agent: this.#agent,
        host: target.hostname,
        port: target.port,
        method: seen.method,
        path: seen.url,
        headers: request.rawHeaders,
      },
      (answer) => {
        if (fate !== undefined && 'status' in fate) {
          answer.resume();
          answer.on('end', () => fail(fate, response));
          return;
        }
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        if (fate === undefined) answer.pipe(response);
        else cut(answer, response, fate.cutAfterBytes);
      },
    );
    onward.on('error', () => response.destroy());
    response.on('close', () => {
      if (!response.writableFinished) onward.destroy();
    });
    request.pipe(onward);
  }
}

/** Fates for the requests that `matches` finds, one by one; then all pass. */
export function inTurn(matches: (request: Seen) => boolean, faults: readonly (Fault | Cut)[]): Fate {
  const left = [...faults];
  return (request) => (matches(request) ? left.shift() : undefined);
}

/** Passes the headers and the first bytes on and then closes the connection, at the latest where the body ends. */
function cut(answer: http.IncomingMessage, response: http.ServerResponse, bytes: number): void {
  let left = bytes;
  // Soon: what was written must reach the client before its connection goes.
  const close = () => response.socket?.destroySoon();
  response.flushHeaders();
  if (left === 0) close();
  answer.on('data', (chunk: Buffer) => {
    if (left === 0) return;
    const piece = chunk.subarray(0, left);
    left -= piece.length;
    response.write(piece);
    if (left === 0) close();
  });
  answer.on('end', close);
  answer.on('error', close);
}

function fail(fault: Fault, response: http.ServerResponse): void {
  if (fault.status === 'hang') return;
  if (fault.status === 'drop') {
    response.destroy();
    return;
  }
  const body = fault.body ?? 'a fault\n';
  const headers = { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(body), ...fault.headers };
  response.writeHead(fault.status, headers).end(body);
}
