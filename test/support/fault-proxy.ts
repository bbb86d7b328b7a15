/** A reverse proxy that answers chosen requests with a fault of its own, before or after the server has seen them. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Fault {
  /** `drop` cuts the connection instead of answering. */
  readonly status: number | 'drop';
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
  /** Whether the server carries the request out all the same, so that only its answer is lost. */
  readonly forward: boolean;
}

export interface Seen {
  readonly method: string;
  readonly url: string;
}

/** Decides on each request; undefined lets it pass. */
export type Fate = (request: Seen) => Fault | undefined;

export class FaultProxy {
  /** Where requests go: `http://host:port`. */
  target = '';
  fate: Fate = () => undefined;
  /** Every request, in order of arrival. */
  readonly seen: Seen[] = [];
  readonly #server = http.createServer((request, response) => this.#handle(request, response));
  readonly #agent = new http.Agent({ keepAlive: true });

  static async start(): Promise<FaultProxy> {
    const proxy = new FaultProxy();
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

  #handle(request: http.IncomingMessage, response: http.ServerResponse): void {
    const seen = { method: request.method ?? '', url: request.url ?? '' };
    this.seen.push(seen);
    const fault = this.fate(seen);
    if (fault !== undefined && !fault.forward) {
      request.resume();
      request.on('end', () => fail(fault, response));
      return;
    }
    const target = new URL(this.target);
    const onward = http.request(
      {
        agent: this.#agent,
        host: target.hostname,
        port: target.port,
        method: seen.method,
        path: seen.url,
        headers: request.rawHeaders,
      },
      (answer) => {
        if (fault !== undefined) {
          answer.resume();
          answer.on('end', () => fail(fault, response));
          return;
        }
        response.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        answer.pipe(response);
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
export function inTurn(matches: (request: Seen) => boolean, faults: readonly Fault[]): Fate {
  const left = [...faults];
  return (request) => (matches(request) ? left.shift() : undefined);
}

function fail(fault: Fault, response: http.ServerResponse): void {
  if (fault.status === 'drop') {
    response.destroy();
    return;
  }
  const body = fault.body ?? 'a fault\n';
  const headers = { 'Content-Type': 'text/plain', 'Content-Length': Buffer.byteLength(body), ...fault.headers };
  response.writeHead(fault.status, headers).end(body);
}
