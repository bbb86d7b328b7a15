/**
 * A plain round-robin proxy in front of several servers. It goes to the next one where a server takes no connection, as
 * every load balancer does, and knows nothing else of them: what breaks in the middle breaks for the client.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export class RoundRobin {
  /** Addresses of the servers: `http://host:port`. */
  targets: readonly string[] = [];
  readonly #server = http.createServer((request, response) => {
    forward(request, response, inTurn(this.targets, this.#turn++));
  });
  #turn = 0;

  static async start(): Promise<RoundRobin> {
    const proxy = new RoundRobin();
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** `http://localhost:port`, fit for `--api-url`. */
  get url(): string {
    return `http://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    await closeNow(this.#server);
  }
}

/** The same targets, each of them first once in as many turns. */
export function inTurn(targets: readonly string[], turn: number): string[] {
  const first = turn % Math.max(1, targets.length);
  return [...targets.slice(first), ...targets.slice(0, first)];
}

/** Ends a server and whatever it still serves. */
export async function closeNow(server: http.Server): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}

/**
 * Sends a request on to the first of the targets that takes a connection; where none does, the client's ends too.
 * @param path what is asked of the target; the same as of us unless told
 */
export function forward(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  [target, ...others]: readonly string[],
  path: string | undefined = request.url,
): void {
  if (target === undefined) {
    response.destroy();
    return;
  }
  const { hostname, port } = new URL(target);
  const { method, headers } = request;
  let connected = false;
  const onward = http.request({ hostname, port, method, path, headers, agent: false }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
    answer.on('error', () => response.destroy());
    answer.on('aborted', () => response.destroy());
  });
  onward.on('socket', (socket) =>
    socket.once('connect', () => {
      connected = true;
      request.pipe(onward);
    }),
  );
  onward.on('error', () => {
    if (connected) response.destroy();
    else forward(request, response, others, path);
  });
  response.on('close', () => onward.destroy());
}
