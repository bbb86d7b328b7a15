/**
 * What the modes Drain and Abandoned ask for. It begins when a manifest asks for it and at a start, and looks again now
 * and then. Of several servers on one database one does it, by a lease; another goes on when that one dies.
 */

import type { Lease, Leases } from '../database/index.ts';
import { isEmpty, type Remains, remainsOf } from '../storages/index.ts';
import { type AbandonInit, abandon } from './abandon.ts';
import { Drain, type DrainInit } from './drain.ts';
import type { DrainProgress } from './progress.ts';

export interface StorageWorkInit extends DrainInit, AbandonInit {
  readonly leases: Leases;
}

/** A lease of a server that died ends after 10 s; 15 s after its death another one goes on. */
const MOST_TICK_MS = 4_000;
/** Counts of rows are used again for this long. */
const REMAINS_MS = 1_000;

export class StorageWork {
  readonly #init: StorageWorkInit;
  readonly #drains = new Map<string, Drain>();
  readonly #tasks = new Map<string, Promise<void>>();
  readonly #remains = new Map<string, { at: number; value: Promise<Remains> }>();
  /** Drained ones that the log has named. */
  readonly #named = new Set<string>();
  readonly #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #ticking: Promise<void> | undefined;
  #lease: Lease | undefined;

  constructor(init: StorageWorkInit) {
    this.#init = init;
  }

  start(): void {
    const ms = Math.min(this.#init.settings.storageRetryMs, MOST_TICK_MS);
    this.#timer = setInterval(() => this.#tick(), ms).unref();
    this.#tick();
  }

  /** The manifest has changed: what stopped the work may be mended, or there is more of it. */
  wake(): void {
    if (this.#timer === undefined) return;
    for (const drain of this.#drains.values()) drain.retry();
    this.#remains.clear();
    this.#tick();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#stopping.abort();
    await this.#ticking;
    await Promise.all(this.#tasks.values());
    await this.#letGo();
  }

  /** What this server has moved out of a storage; undefined: nothing, it may be another one's work. */
  progress(storage: string): DrainProgress | undefined {
    return this.#drains.get(storage)?.progress;
  }

  /** What is still there, by the rows of a moment ago. */
  remains(storage: string): Promise<Remains> {
    const known = this.#remains.get(storage);
    if (known !== undefined && performance.now() - known.at < REMAINS_MS) return known.value;
    const value = remainsOf(this.#init.database, storage);
    value.catch(() => this.#remains.delete(storage));
    this.#remains.set(storage, { at: performance.now(), value });
    return value;
  }

  #tick(): void {
    this.#ticking ??= this.#begin()
      .catch((error: unknown) =>
        this.#init.logger.error({ err: error }, 'storages cannot be drained now; it is tried again'),
      )
      .finally(() => {
        this.#ticking = undefined;
      });
  }

  /** Begins what is to be done and not under way. */
  async #begin(): Promise<void> {
    const { storages, objects, leases } = this.#init;
    const [draining, abandoned] = [storages.inMode('Drain'), storages.inMode('Abandoned')];
    for (const name of this.#drains.keys())
      if (!draining.includes(name) && !this.#tasks.has(name)) this.#drains.delete(name);
    for (const name of this.#named) if (!draining.includes(name)) this.#named.delete(name);
    const todo: [string, (signal: AbortSignal) => Promise<void>][] = [];
    for (const name of [...draining, ...abandoned]) {
      if (this.#tasks.has(name)) continue;
      const remains = await this.remains(name);
      // Their time may be over; the next round of housekeeping is a minute away.
      if (remains.tombstones > 0) objects.collect();
      if (this.#isOver(name, remains)) continue;
      if (abandoned.includes(name)) todo.push([name, (signal) => abandon(this.#init, name, signal)]);
      else if (this.#drainOf(name).isDue && remains.objects + remains.uploads > 0)
        todo.push([name, (signal) => this.#drainOf(name).run(signal)]);
    }
    if (this.#lease?.signal.aborted) await this.#letGo();
    if (todo.length > 0) this.#lease ??= await leases.acquire('move');
    const lease = this.#lease;
    if (lease === undefined || this.#stopping.signal.aborted) return;
    const signal = AbortSignal.any([lease.signal, this.#stopping.signal]);
    for (const [name, work] of todo) this.#run(name, work(signal));
    if (this.#tasks.size === 0) await this.#letGo();
  }

  #isOver(name: string, remains: Remains): boolean {
    if (!isEmpty(remains)) {
      this.#named.delete(name);
      return false;
    }
    const { storages, logger } = this.#init;
    if (storages.modeOf(name) === 'Drain' && !this.#named.has(name)) {
      this.#named.add(name);
      const { lost } = remains;
      const about = { storage: name, ...(lost > 0 && { lostObjects: lost }) };
      logger.info(
        about,
        `storage is drained${lost > 0 ? `, but for ${lost} lost objects` : ''}; it can be removed from the manifest`,
      );
    }
    return true;
  }

  #run(name: string, work: Promise<void>): void {
    const task = work
      .catch((error: unknown) =>
        this.#init.logger.error({ err: error, storage: name }, 'storage cannot be given up now; it is tried again'),
      )
      .finally(async () => {
        this.#tasks.delete(name);
        this.#remains.delete(name);
        if (this.#tasks.size === 0 && this.#ticking === undefined) await this.#letGo();
      });
    this.#tasks.set(name, task);
  }

  #drainOf(name: string): Drain {
    let drain = this.#drains.get(name);
    if (drain === undefined) {
      drain = new Drain(this.#init, name);
      this.#drains.set(name, drain);
    }
    return drain;
  }

  async #letGo(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.release();
  }
}
