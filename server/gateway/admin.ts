/** The admin port: `/livez`, `/readyz`, `/metrics`, `/status`. Ready means that a routing table runs. */
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import type { GatewayStatus } from '../../crds/index.ts';
import { createDoor, type Listen, listenOn, rawPath, rawQuery, sendWhole } from '../wire/index.ts';
import type { GatewayMetrics } from './metrics.ts';

export interface AdminInit {
  readonly metrics: GatewayMetrics;
  readonly status: () => GatewayStatus;
  readonly logger: Logger;
}

export class Admin {
  readonly #init: AdminInit;
  readonly #server: Server;

  constructor(init: AdminInit) {
    this.#init = init;
    this.#server = createDoor({
      logger: init.logger,
      handle: (request, response) => this.#answer(request.url ?? '/', response),
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

  async #answer(url: string, response: ServerResponse): Promise<void> {
    const { metrics, status } = this.#init;
    switch (rawPath(url)) {
      case '/livez':
        return sendWhole(response, 200, 'text/plain', 'ok\n');
      case '/readyz': {
        const { ready, routes, error } = status();
        const lines = [
          `[${ready ? '+' : '-'}] running: ${ready ? 'yes' : 'starting or stopping'}`,
          `[${routes === null ? '-' : '+'}] routing table: ${routes === null ? 'none yet' : `${routes.caches} caches`}`,
          ...(error === null ? [] : [`[!] the table that is there now does not run: ${error}`]),
        ];
        const verbose = rawQuery(url).has('verbose') ? lines : [];
        const text = [...verbose, ready ? 'ready' : 'not ready'].join('\n');
        return sendWhole(response, ready ? 200 : 503, 'text/plain', `${text}\n`);
      }
      case '/metrics':
        return sendWhole(response, 200, metrics.registry.contentType, await metrics.registry.metrics());
      case '/status':
        return sendWhole(response, 200, 'application/json', JSON.stringify(status()));
      default:
        return sendWhole(response, 404, 'text/plain', 'not found: /livez, /readyz, /metrics, /status\n');
    }
  }
}
