/** The admin port: `/livez`, `/readyz`, `/metrics`, `/status`. Ready means that a routing table runs. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { GatewayStatus } from '../../crds/index.ts';
import { type Listen, listenOn } from '../wire/index.ts';
import type { GatewayMetrics } from './metrics.ts';

export interface AdminInit {
  readonly metrics: GatewayMetrics;
  readonly status: () => GatewayStatus;
}

export class Admin {
  readonly #init: AdminInit;
  readonly #server: Server;

  constructor(init: AdminInit) {
    this.#init = init;
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? '/', 'http://admin');
      this.#answer(url, response).catch((error: unknown) => send(response, 500, 'text/plain', `${String(error)}\n`));
    });
  }

  listen(on: Listen): Promise<AddressInfo> {
    return listenOn(this.#server, on);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(url: URL, response: ServerResponse): Promise<void> {
    const { metrics, status } = this.#init;
    switch (url.pathname) {
      case '/livez':
        return send(response, 200, 'text/plain', 'ok\n');
      case '/readyz': {
        const { ready, routes, error } = status();
        const lines = [
          `[${ready ? '+' : '-'}] running: ${ready ? 'yes' : 'starting or stopping'}`,
          `[${routes === null ? '-' : '+'}] routing table: ${routes === null ? 'none yet' : `${routes.caches} caches`}`,
          ...(error === null ? [] : [`[!] the table that is there now does not run: ${error}`]),
        ];
        const verbose = url.searchParams.has('verbose') ? lines : [];
        const text = [...verbose, ready ? 'ready' : 'not ready'].join('\n');
        return send(response, ready ? 200 : 503, 'text/plain', `${text}\n`);
      }
      case '/metrics':
        return send(response, 200, metrics.registry.contentType, await metrics.registry.metrics());
      case '/status':
        return send(response, 200, 'application/json', JSON.stringify(status()));
      default:
        return send(response, 404, 'text/plain', 'not found: /livez, /readyz, /metrics, /status\n');
    }
  }
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) }).end(text);
}
