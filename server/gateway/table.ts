/** The routing table that runs, and where it comes from. A text that is no table changes nothing but what is said of it. */
import type { Logger } from 'pino';
import {
  type GatewayStatus,
  hashOfShards,
  hashOfText,
  parseRoutingHead,
  parseRoutingTable,
  type RunningRoutes,
} from '../../crds/index.ts';
import { Routes } from './routes.ts';
import { Shards, type Union } from './shards.ts';

/** A table in one piece, or what all share and the caches of each namespace. */
export type TableTexts =
  | { readonly whole: string }
  | { readonly head: string; readonly shards: ReadonlyMap<string, string> };

/** Hears of the texts of a table, each time that they are others, or why there is none. */
export interface TableListener {
  changed(texts: TableTexts): void;
  missing(reason: string): void;
}

/** Follows a table until the signal is aborted. Fails never. */
export type TableSource = (listener: TableListener, signal: AbortSignal) => Promise<void>;

/** A status is for people: of a thousand bad shards they read the first few. */
const MOST_ERRORS = 5;

export class Table implements TableListener {
  readonly #logger: Logger;
  readonly #use: (routes: Routes) => void;
  readonly #shards = new Shards();
  #routes: Routes | undefined;
  #running: RunningRoutes | null = null;
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
    return { routes: this.#running, error: this.#error ?? null };
  }

  changed(texts: TableTexts): void {
    let next: Next;
    try {
      next = 'whole' in texts ? inOnePiece(texts.whole) : inShards(texts.head, this.#shards.use(texts.shards));
    } catch (error) {
      this.missing(error instanceof Error ? error.message : String(error));
      return;
    }
    const { routes, running, errors } = next;
    this.#use(routes);
    this.#routes = routes;
    this.#running = running;
    const { sha256, caches } = running;
    this.#logger.info({ sha256, caches }, 'the routing table runs');
    if (errors.length > 0) this.missing(errors.slice(0, MOST_ERRORS).join('\n'));
    else this.#error = undefined;
  }

  missing(reason: string): void {
    if (reason === this.#error) return;
    this.#error = reason;
    this.#logger.error({ reason }, 'a routing table, or a part of it, cannot be used; the last good one stays');
  }
}

interface Next {
  readonly routes: Routes;
  readonly running: RunningRoutes;
  /** Of parts whose last good text stays. */
  readonly errors: readonly string[];
}

function inOnePiece(text: string): Next {
  const table = parseRoutingTable(text);
  const running = { sha256: hashOfText(text), caches: Object.keys(table.caches).length };
  return { routes: new Routes(table), running, errors: [] };
}

function inShards(head: string, { caches, hashes, errors }: Union): Next {
  const routes = new Routes({ ...parseRoutingHead(head), caches }, true);
  const sha256 = hashOfShards(head, Object.entries(hashes));
  return { routes, running: { sha256, caches: Object.keys(caches).length, shards: hashes }, errors };
}
