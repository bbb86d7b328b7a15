/**
 * The port for whoever watches over the process: `/livez`, `/readyz`, `/metrics`. Alive means that it moves, whatever
 * state the API server is in: a restart heals no server. Ready means that the stores are whole, on leaders and standbys
 * alike: readiness by leadership would keep a rolling update from ever ending.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Logger } from 'pino';
import { messageOf } from './errors.ts';
import type { Metrics } from './metrics.ts';

export interface ProbeInit {
  readonly informers: readonly { readonly kind: { readonly kind: string }; hasSynced: boolean; idleForMs: number }[];
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** An informer that neither hears nor tries anything for so long hangs; default 5 min, twice its own idle time. */
  readonly maxIdleMs?: number;
  /** A process whose loop is late by so much half of the time does nothing useful; default 1 s. */
  readonly maxLagMs?: number;
}

interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly body: string;
}

export class Probe {
  readonly #init: ProbeInit;
  readonly #lag = monitorEventLoopDelay({ resolution: 20 });
  readonly #server: Server;

  constructor(init: ProbeInit) {
    this.#init = init;
    const { logger } = init;
    // Nothing that comes in here ends the process: what cannot be answered costs its own connection.
    this.#server = createServer((request, response) => {
      response.on('error', () => {});
      this.#respond(request, response).catch((error: unknown) => {
        logger.error({ err: error }, 'a probe could not be answered');
        response.destroy();
      });
    });
    this.#server.on('error', (error) => {
      if (this.#server.listening) logger.error({ err: error }, 'a connection could not be taken');
    });
  }

  async listen(host: string | undefined, port: number): Promise<AddressInfo> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, resolve);
    });
    this.#lag.enable();
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no address');
    return address;
  }

  async close(): Promise<void> {
    this.#lag.disable();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #respond({ url }: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = this.#answer(url?.split('?')[0]).catch((error: unknown): Answer => {
      this.#init.logger.error({ err: error }, 'a probe could not be answered');
      return { status: 500, body: `${messageOf(error)}\n` };
    });
    const { status, type = 'text/plain; charset=utf-8', body } = await answer;
    response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) }).end(body);
  }

  async #answer(path: string | undefined): Promise<Answer> {
    switch (path) {
      case '/livez':
        return verdict(this.#troublesOfLife());
      case '/readyz':
        return verdict(
          this.#init.informers.filter((one) => !one.hasSynced).map((one) => `${one.kind.kind}: not listed`),
        );
      case '/metrics': {
        const { registry } = this.#init.metrics;
        return { status: 200, type: registry.contentType, body: await registry.metrics() };
      }
      default:
        return { status: 404, body: 'not found: /livez, /readyz, /metrics\n' };
    }
  }

  #troublesOfLife(): string[] {
    const { informers, maxIdleMs = 300_000, maxLagMs = 1000 } = this.#init;
    const troubles = informers
      .filter((one) => one.idleForMs > maxIdleMs)
      .map((one) => `${one.kind.kind}: idle for ${Math.round(one.idleForMs / 1000)} s`);
    // Since the last question; the median, since one long collection of garbage is no illness.
    const lagMs = this.#lag.percentile(50) / 1e6;
    this.#lag.reset();
    if (lagMs > maxLagMs) troubles.push(`the event loop is late by ${Math.round(lagMs)} ms`);
    return troubles;
  }
}

function verdict(troubles: readonly string[]): Answer {
  return troubles.length === 0 ? { status: 200, body: 'ok\n' } : { status: 503, body: `${troubles.join('\n')}\n` };
}
