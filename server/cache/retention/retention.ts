/**
 * When collections run: by schedule, after a death, or because somebody asks. Of several servers one does it, by a lease.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { CollectionStatus } from '../../../crds/index.ts';
import type { Lease, Leases } from '../database/index.ts';
import { CacheError } from '../errors.ts';
import { ClockWatch } from './clock.ts';
import { type CollectInit, collect, end, finish, planNow, whyHeld } from './collect.ts';
import {
  type CollectionRow,
  collectionOf,
  lastCollections,
  newestCollection,
  runningCollection,
} from './collections.ts';
import { type ExpireInit, expireRetired, trimRemoved } from './expire.ts';
import { listPlan, listRetired, type Taken } from './listing.ts';
import { countDoomed } from './sweep.ts';

export interface RetentionInit extends CollectInit, ExpireInit {
  readonly leases: Leases;
  /** Whether room is scarce. */
  readonly isTight: () => boolean;
  readonly logger: Logger;
}

/** The grace where the quota, or a disk, is nearly used up. */
const TIGHT_GRACE_MS = 600_000;
/** How long after its time a collection may begin: several caches, or servers, must not all begin at once. */
const JITTER = 0.1;

/** How long somebody who asks for a collection waits for a look by schedule to end. */
const PATIENCE_MS = 5_000;
const RETRY_MS = 50;

export interface DryRun {
  /** Published now. */
  readonly paths: number;
  readonly bytes: number;
  /** Of these, what would go. */
  readonly removedPaths: number;
  readonly removedBytes: number;
  /** Why a collection would wait until somebody confirms it; undefined: it would not. */
  readonly held: string | undefined;
  /** The largest first. */
  list(): AsyncIterable<readonly Taken[]>;
}

/** A collection under way, or over. */
export interface CollectionReport extends CollectionStatus {
  /** Paths that are yet to go. */
  readonly leftPaths: number;
}

export class Retention {
  readonly #init: RetentionInit;
  readonly #clock: ClockWatch;
  readonly #stopping = new AbortController();
  readonly #jitter = Math.random() * JITTER;
  #running: Promise<void> | undefined;
  /** What somebody asked for. */
  readonly #asked = new Set<Promise<void>>();

  constructor(init: RetentionInit) {
    this.#init = init;
    this.#clock = new ClockWatch(init.database);
  }

  /** Does what is due, in the background. */
  wake(): void {
    this.#running ??= this.#run()
      .catch((error: unknown) => {
        if (!this.#stopping.signal.aborted)
          this.#init.logger.error({ err: error }, 'a collection failed; it will be tried again');
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([this.#running, ...this.#asked]);
  }

  /** The last collections, the newest first. */
  report(limit?: number): Promise<CollectionRow[]> {
    return lastCollections(this.#init.database, limit);
  }

  /** One of them; undefined: there is none, or it is long over. */
  async find(run: number): Promise<CollectionReport | undefined> {
    const row = await collectionOf(this.#init.database, run);
    if (row === undefined) return undefined;
    const leftPaths = row.state === 'running' ? await countDoomed(this.#init.database, 'all') : 0;
    return { ...statusOf(row), leftPaths };
  }

  /** What that one has retired, the largest first, as long as its grace lasts. */
  async *retired(run: number): AsyncGenerator<readonly Taken[]> {
    const row = await collectionOf(this.#init.database, run);
    if (row !== undefined) yield* listRetired(this.#init.database, row);
  }

  /** The newest one that has chosen what goes, and how many paths there are whose grace is not over. */
  async status(): Promise<{ lastGC: CollectionStatus | null; retiredPaths: number }> {
    const { database } = this.#init;
    const [row, [retired]] = await Promise.all([
      newestCollection(database),
      database.query<{ paths: number }>(RETIRED_COUNT_QUERY),
    ]);
    return { lastGC: row === undefined ? null : statusOf(row), retiredPaths: Number(retired?.paths ?? 0) };
  }

  /** What a collection would remove now. Beside any other: it changes nothing. @throws AbortError */
  async dryRun(signal: AbortSignal): Promise<DryRun> {
    const { graph, plan } = await planNow(this.#init, AbortSignal.any([signal, this.#stopping.signal]));
    return {
      ...{ paths: graph.paths, bytes: plan.bytes, removedPaths: plan.victims.length, removedBytes: plan.freedBytes },
      held: whyHeld(plan, await this.#clock.known()),
      list: () => listPlan(this.#init.database, graph, plan),
    };
  }

  /**
   * Begins a collection now, whatever the schedule; it goes on in the background. @param isConfirmed as for `collect`.
   * @throws CacheError Conflict (one runs)
   */
  begin(isConfirmed: boolean): Promise<CollectionReport> {
    return new Promise((resolve, reject) => {
      let isBegun = false;
      const onBegun = (run: number) => {
        isBegun = true;
        this.find(run).then((row) => row && resolve(row), reject);
      };
      const over: Promise<void> = this.#collect(isConfirmed, this.#stopping.signal, onBegun)
        .catch((error: unknown) => {
          if (!isBegun) reject(error);
          else if (!this.#stopping.signal.aborted) this.#init.logger.error({ err: error }, 'a collection failed');
        })
        .finally(() => this.#asked.delete(over));
      this.#asked.add(over);
    });
  }

  /**
   * A collection now, whatever the schedule; resolves when it is over. @param isConfirmed whether a person has looked at
   * what it removes, however much that is. @throws CacheError Conflict (one runs), AbortError
   */
  async collect(isConfirmed: boolean, signal: AbortSignal): Promise<CollectionRow | undefined> {
    await this.#collect(isConfirmed, signal);
    return (await this.report(1))[0];
  }

  async #collect(isConfirmed: boolean, asked: AbortSignal, onBegun?: (run: number) => void): Promise<void> {
    const lease = await this.#patientLease();
    try {
      const signal = AbortSignal.any([lease.signal, this.#stopping.signal, asked]);
      // What a dead server left goes on with the next look by schedule; whoever waits for an answer waits no minutes.
      const isLeft = onBegun !== undefined && !this.#init.isAlone && (await runningCollection(this.#init.database));
      if (isLeft) throw conflict();
      await this.#resume(signal);
      const doubt = await this.#clock.doubt();
      await collect(this.#init, { isConfirmed, doubt, ...(onBegun && { onBegun }) }, signal);
      if (isConfirmed) await this.#clock.trust();
    } finally {
      await lease.release();
    }
  }

  /** The lease, which each look by schedule has for a moment. @throws CacheError Conflict */
  async #patientLease(): Promise<Lease> {
    const { leases, database } = this.#init;
    for (const deadline = performance.now() + PATIENCE_MS; ; ) {
      const lease = await leases.acquire('collection');
      if (lease !== undefined) return lease;
      if (performance.now() > deadline || (await runningCollection(database)) !== undefined) throw conflict();
      await sleep(RETRY_MS, undefined, { signal: this.#stopping.signal });
    }
  }

  async #run(): Promise<void> {
    const { leases, settings } = this.#init;
    const lease = await leases.acquire('collection');
    if (lease === undefined) return;
    const signal = AbortSignal.any([lease.signal, this.#stopping.signal]);
    try {
      await this.#resume(signal);
      const doubt = await this.#clock.doubt();
      const { retention } = settings;
      if (await this.#isDue()) await collect(this.#init, { isConfirmed: false, doubt }, signal);
      // A clock that is wrong must not end the grace of anything.
      const graceMs = this.#init.isTight() ? Math.min(retention.graceMs, TIGHT_GRACE_MS) : retention.graceMs;
      if (doubt === undefined) await expireRetired(this.#init, Date.now() - graceMs, signal);
      await trimRemoved(this.#init.database);
    } finally {
      await lease.release();
    }
  }

  async #isDue(): Promise<boolean> {
    const { unusedMs, maxBytes, everyMs } = this.#init.settings.retention;
    if (unusedMs === undefined && maxBytes === undefined) return false;
    const [last] = await this.report(1);
    return last === undefined || Math.abs(Date.now() - last.begun_at) >= everyMs * (1 + this.#jitter);
  }

  /** What a server has left behind that died: chosen paths go on to go, half a choice is none. */
  async #resume(signal: AbortSignal): Promise<void> {
    const { database } = this.#init;
    const running = await runningCollection(database);
    if (running === undefined) return;
    if (running.removed_paths > 0 && (await countDoomed(database, 'all')) > 0)
      await finish(this.#init, running, signal);
    else await end(this.#init, running, { state: 'failed', text: 'the server ended' });
  }
}

function conflict(): CacheError {
  return new CacheError('Conflict', 'a collection of this cache runs now; try again when it is over');
}

const MOST_COUNTED = 100_000;
const RETIRED_COUNT_QUERY = `SELECT count(*) AS paths FROM (SELECT 1 FROM retired LIMIT ${MOST_COUNTED}) AS some`;

/** A row as people hear of it. */
export function statusOf(row: CollectionRow): CollectionStatus {
  const date = (at: number) => new Date(at).toISOString();
  return {
    run: row.run,
    begunAt: date(row.begun_at),
    endedAt: row.ended_at === null ? null : date(row.ended_at),
    state: row.state,
    message: row.text,
    ...{ paths: row.paths, bytes: row.bytes, removedPaths: row.removed_paths, removedBytes: row.removed_bytes },
  };
}
