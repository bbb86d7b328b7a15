/**
 * Work that only one server may do at a time. A lease is a row with an end by the database's clock; its owner renews it
 * three times before that end, so that the work of an owner who died is taken over after `ttlMs`. Where the database is
 * not shared this process is the only one, and every lease is granted without a row.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';

export interface LeasesInit {
  readonly database: Database;
  readonly logger: Logger;
  /** Default 10 s. */
  readonly ttlMs?: number;
}

export interface Lease {
  /** Aborted once the lease is lost: the work must stop. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

const NOW = '(extract(epoch FROM clock_timestamp()) * 1000)::bigint';

export class Leases {
  readonly #init: LeasesInit;
  readonly #owner = randomUUID();
  readonly #ttlMs: number;
  /** Taken here, for callers of the same process. */
  readonly #held = new Set<string>();

  constructor(init: LeasesInit) {
    this.#init = init;
    this.#ttlMs = init.ttlMs ?? 10_000;
  }

  /** The lease called `name`; undefined where another caller or server has it. */
  async acquire(name: string): Promise<Lease | undefined> {
    if (this.#held.has(name)) return undefined;
    this.#held.add(name);
    const start = performance.now();
    try {
      if (this.#init.database.isShared && !(await this.#take(name))) {
        this.#held.delete(name);
        return undefined;
      }
    } catch (error) {
      this.#held.delete(name);
      throw error;
    }
    return this.#hold(name, start);
  }

  #hold(name: string, start: number): Lease {
    const lost = new AbortController();
    const { database, logger } = this.#init;
    let renewing: NodeJS.Timeout | undefined;
    let ending: NodeJS.Timeout | undefined;
    const lose = () => {
      logger.warn({ lease: name }, 'a lease was lost; another server goes on');
      clearInterval(renewing);
      clearTimeout(ending);
      lost.abort();
    };
    /** By our own clock, from before the question was sent: a database that is silent must not keep us at work. */
    const keepFrom = (asked: number) => {
      clearTimeout(ending);
      ending = setTimeout(lose, Math.max(0, asked + this.#ttlMs - performance.now())).unref();
    };
    let busy = false;
    const renew = async () => {
      if (busy) return;
      busy = true;
      const asked = performance.now();
      const isOurs = await this.#take(name).catch((error: unknown) => {
        logger.warn({ err: error, lease: name }, 'a lease could not be renewed yet');
        return undefined;
      });
      busy = false;
      if (lost.signal.aborted || !this.#held.has(name)) return;
      if (isOurs === true) keepFrom(asked);
      else if (isOurs === false) lose();
    };
    if (database.isShared) {
      keepFrom(start);
      renewing = setInterval(() => void renew(), this.#ttlMs / 4).unref();
    }
    return {
      signal: lost.signal,
      release: async () => {
        clearInterval(renewing);
        clearTimeout(ending);
        if (!this.#held.delete(name) || !database.isShared || lost.signal.aborted) return;
        // A crash that undoes it costs whoever comes next the rest of the lease's time.
        await database
          .script([['DELETE FROM leases WHERE name = ? AND owner = ?', name, this.#owner]], 'process')
          // It ends by itself.
          .catch((error: unknown) => logger.warn({ err: error, lease: name }, 'a lease could not be given back'));
      },
    };
  }

  async #take(name: string): Promise<boolean> {
    const rows = await this.#init.database.write((sql) =>
      sql.query(
        `INSERT INTO leases (name, owner, expires_at) VALUES (?, ?, ${NOW} + ?)
         ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
         WHERE leases.owner = excluded.owner OR leases.expires_at < ${NOW} RETURNING owner`,
        [name, this.#owner, this.#ttlMs],
      ),
    );
    return rows.length > 0;
  }
}
