/** The routing table that runs, and where it comes from. A text that is no table changes nothing but what is said of it. */
import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import type { GatewayStatus } from '../../crds/index.ts';
import { Routes } from './routes.ts';

/** Hears of the text of `routes.json`, each time that it is another one, or why there is none. */
export interface TableListener {
  changed(text: string): void;
  missing(reason: string): void;
}

/** Follows a table until the signal is aborted. Fails never. */
export type TableSource = (listener: TableListener, signal: AbortSignal) => Promise<void>;

export class Table implements TableListener {
  readonly #logger: Logger;
  readonly #use: (routes: Routes) => void;
  #routes: Routes | undefined;
  #sha256 = '';
  #error: string | undefined;

  /** @param use takes a table over, at once and in whole */
  constructor(logger: Logger, use: (routes: Routes) => void) {
    this.#logger = logger;
    this.#use = use;
  }

  get routes(): Routes | undefined {
    return this.#routes;
  }

  get status(): Pick<GatewayStatus, 'routes' | 'error'> {
    const running = this.#routes && { sha256: this.#sha256, caches: Object.keys(this.#routes.table.caches).length };
    return { routes: running ?? null, error: this.#error ?? null };
  }

  changed(text: string): void {
    let routes: Routes;
    try {
      routes = new Routes(text);
    } catch (error) {
      this.missing(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#use(routes);
    this.#routes = routes;
    this.#sha256 = createHash('sha256').update(text).digest('hex');
    this.#error = undefined;
    this.#logger.info(this.status.routes, 'the routing table runs');
  }

  missing(reason: string): void {
    if (reason === this.#error) return;
    this.#error = reason;
    this.#logger.error({ reason }, 'there is no routing table; the last good one stays');
  }
}
