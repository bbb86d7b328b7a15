/**
 * When collections run: by schedule, after a death, or because somebody asks. Of several servers one does it, by a lease.
 */
import type { Logger } from 'pino';
import type { Leases } from '../database/index.ts';
import { CacheError } from '../errors.ts';
import { ClockWatch } from './clock.ts';
import { type CollectInit, collect, finish, planNow } from './collect.ts';
import { type CollectionRow, endCollection, lastCollections, runningCollection } from './collections.ts';
import { type ExpireInit, expireRetired, trimRemoved } from './expire.ts';
import type { Plan } from './plan.ts';
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

export interface DryRun extends Pick<Plan, 'bytes' | 'freedBytes'> {
  readonly paths: number;
  readonly victims: readonly {
    readonly hashPart: string;
    readonly reason: Plan['reasons'][number];
    readonly size: number;
  }[];
}

export class Retention {
  readonly #init: RetentionInit;
  readonly #clock: ClockWatch;
  readonly #stopping = new AbortController();
  readonly #jitter = Math.random() * JITTER;
  #running: Promise<void> | undefined;

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
    await this.#running;
  }

  /** The last collections, the newest first. */
  report(limit?: number): Promise<CollectionRow[]> {
    return lastCollections(this.#init.database, limit);
  }

  /** What a collection would remove now. Beside any other: it changes nothing. @throws CacheError Conflict */
  async dryRun(signal: AbortSignal): Promise<DryRun> {
    const { graph, plan } = await planNow(this.#init, AbortSignal.any([signal, this.#stopping.signal]));
    return {
      ...{ paths: graph.paths, bytes: plan.bytes, freedBytes: plan.freedBytes },
      victims: Array.from(plan.victims, (number, at) => ({
        hashPart: graph.hashPartOf(number),
        reason: plan.reasons[at] ?? 'unused',
        size: graph.sizeOf(number),
      })),
    };
  }

  /**
   * A collection now, whatever the schedule; resolves when it is over. @param isConfirmed whether a person has looked at
   * what it removes, however much that is. @throws CacheError Conflict (one runs), AbortError
   */
  async collect(isConfirmed: boolean, signal: AbortSignal): Promise<CollectionRow | undefined> {
    await this.#withLease(async (held) => {
      await this.#resume(held);
      await collect(this.#init, { isConfirmed, doubt: await this.#clock.doubt() }, held);
      if (isConfirmed) await this.#clock.trust();
    }, signal);
    return (await this.report(1))[0];
  }

  async #withLease(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const lease = await this.#init.leases.acquire('collection');
    if (lease === undefined)
      throw new CacheError('Conflict', 'a collection of this cache runs now; try again when it is over');
    try {
      await work(AbortSignal.any([lease.signal, this.#stopping.signal, signal]));
    } finally {
      await lease.release();
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
    else await endCollection(database, running.run, 'failed', 'the server ended', Date.now());
  }
}
