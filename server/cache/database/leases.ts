/**
 * Work that only one server may do at a time. A lease is a row with an end by the database's clock; its owner renews it
 * three times before that end, so that the work of an owner who died is taken over after `ttlMs`. Where the database is
 * not shared this process is the only one, and every lease is granted without a row. What the work begins and ends with can
 * go with the lease: what it must read under it, and the transaction after which nobody needs it.
 */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Database, Statement } from '../../metadata/index.ts';

export interface LeasesInit {
  readonly database: Database;
  readonly logger: Logger;
  /** Default 10 s. */
  readonly ttlMs?: number;
}

export interface Lease {
  /** Aborted once the lease is lost: the work must stop. */
  readonly signal: AbortSignal;
  /** For the transaction that ends the work: gives it back there. Once that is committed, `ended` is to be called. */
  end(): Statement[];
  ended(): void;
  /** Gives it back, unless it has ended. */
  release(): Promise<void>;
}

/** What is read in the trip that asks for a lease, after that: nothing that others did under it is missed. */
export interface Look {
  /** A condition: where it does not hold there is nothing to do, and no lease is taken. */
  readonly where: Statement;
  readonly read: Statement;
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
    return (await this.#acquire(name)).lease;
  }

  /** The same, and what there is to know with it; that also where others have it. */
  acquireAndLook<Row>(name: string, look: Look): Promise<{ lease: Lease | undefined; rows: Row[] }> {
    return this.#acquire<Row>(name, look);
  }

  async #acquire<Row>(name: string, look?: Look): Promise<{ lease: Lease | undefined; rows: Row[] }> {
    const isFree = !this.#held.has(name);
    if (isFree) this.#held.add(name);
    const start = performance.now();
    try {
      const { isOurs, rows } = await this.#ask<Row>(name, isFree, look);
      if (isOurs) return { lease: this.#hold(name, start), rows };
      if (isFree) this.#held.delete(name);
      return { lease: undefined, rows };
    } catch (error) {
      if (isFree) this.#held.delete(name);
      throw error;
    }
  }

  async #ask<Row>(name: string, isFree: boolean, look: Look | undefined): Promise<{ isOurs: boolean; rows: Row[] }> {
    const { database } = this.#init;
    if (!isFree || !database.isShared) {
      const [text, ...values] = look?.read ?? [];
      return { isOurs: isFree, rows: text === undefined ? [] : await database.query<Row>(text, values) };
    }
    const [taken = [], rows = []] = await database.together<Row>([
      this.#takeStatement(name, look?.where),
      ...(look === undefined ? [] : [look.read]),
    ]);
    return { isOurs: taken.length > 0, rows };
  }

  #hold(name: string, start: number): Lease {
    const lost = new AbortController();
    const { database, logger } = this.#init;
    let renewing: NodeJS.Timeout | undefined;
    let expiring: NodeJS.Timeout | undefined;
    let isEnding = false;
    let isOver = false;
    const stop = () => {
      isOver = true;
      clearInterval(renewing);
      clearTimeout(expiring);
    };
    const lose = () => {
      logger.warn({ lease: name }, 'a lease was lost; another server goes on');
      stop();
      lost.abort();
    };
    const leave = () => {
      stop();
      return this.#held.delete(name);
    };
    /** By our own clock, from before the question was sent: a database that is silent must not keep us at work. */
    const keepFrom = (asked: number) => {
      clearTimeout(expiring);
      expiring = setTimeout(lose, Math.max(0, asked + this.#ttlMs - performance.now())).unref();
    };
    let busy = false;
    const renew = async () => {
      if (busy) return;
      busy = true;
      const asked = performance.now();
      const isOurs = await this.#renew(name).catch((error: unknown) => {
        logger.warn({ err: error, lease: name }, 'a lease could not be renewed yet');
        return undefined;
      });
      busy = false;
      if (isOver) return;
      if (isOurs === true) keepFrom(asked);
      // Where it ends, that may be committed and not answered yet.
      else if (isOurs === false && !isEnding) lose();
    };
    if (database.isShared) {
      keepFrom(start);
      renewing = setInterval(() => void renew(), this.#ttlMs / 4).unref();
    }
    const end: Statement = ['DELETE FROM leases WHERE name = ? AND owner = ?', name, this.#owner];
    return {
      signal: lost.signal,
      end: () => {
        isEnding = true;
        return database.isShared ? [end] : [];
      },
      ended: leave,
      release: async () => {
        if (!leave() || !database.isShared || lost.signal.aborted) return;
        // A crash that undoes it costs whoever comes next the rest of the lease's time.
        await database
          .script([end], 'process')
          // It ends by itself.
          .catch((error: unknown) => logger.warn({ err: error, lease: name }, 'a lease could not be given back'));
      },
    };
  }

  #takeStatement(name: string, [condition, ...values]: Statement = ['true']): Statement {
    return [
      `INSERT INTO leases (name, owner, expires_at) SELECT ?, ?, ${NOW} + ? WHERE ${condition}
       ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
       WHERE leases.owner = excluded.owner OR leases.expires_at < ${NOW} RETURNING owner`,
      name,
      this.#owner,
      this.#ttlMs,
      ...values,
    ];
  }

  /** Whether it is still ours. One that was given back meanwhile does not come to life again. */
  async #renew(name: string): Promise<boolean> {
    const [renewed = []] = await this.#init.database.together([
      [
        `UPDATE leases SET expires_at = ${NOW} + ? WHERE name = ? AND owner = ? RETURNING owner`,
        this.#ttlMs,
        name,
        this.#owner,
      ],
    ]);
    return renewed.length > 0;
  }
}
