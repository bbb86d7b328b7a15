/**
 * A plain round-robin proxy in front of several servers. It goes to the next one where a server takes no connection, as
 * every load balancer does, and knows nothing else of them: what breaks in the middle breaks for the client.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';

export class RoundRobin {
  /** Addresses of the servers: `http://host:port`. */
  targets: readonly string[] = [];
  readonly #server = http.createServer((request, response) => this.#forward(request, response, this.targets.length));
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
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  #forward(request: http.IncomingMessage, response: http.ServerResponse, tries: number): void {
    const target = this.targets[this.#turn++ % this.targets.length];
    if (target === undefined || tries === 0) {
      response.destroy();
      return;
    }
    const { hostname, port } = new URL(target);
    const { method, url: path, headers } = request;
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
      else this.#forward(request, response, tries - 1);
    });
    response.on('close', () => onward.destroy());
  }
}
