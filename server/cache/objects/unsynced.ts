/**
 * NARs that have a row and whose bytes are still on their way to the disk. Their clients have their answers; a path waits
 * before it points at one. What cannot be synced gets a tombstone: no path can have claimed it. What a loss of power takes
 * is found at the next start: see unproven.ts.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import type { Storages } from '../storages/index.ts';
import type { NewObject } from './object.ts';
import type { Objects } from './objects.ts';
import { tombstoneUnsynced } from './tombstones.ts';

export interface UnsyncedInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly logger: Logger;
}

/**
 * So many at one time, each with a descriptor and a thread of the pool: those that come then wait for the disk before
 * their answer.
 */
const MOST = 16;

interface Sync {
  readonly object: NewObject;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Rejects where the bytes are not on disk. */
  over: Promise<void>;
  /** Why they are not, and their row is still there: it could not be taken back yet. */
  failure?: { readonly reason: unknown };
}

export class Unsynced {
  readonly #init: UnsyncedInit;
  readonly #syncs = new Set<Sync>();
  readonly #byKey = new Map<string, Sync[]>();

  constructor(init: UnsyncedInit) {
    this.#init = init;
  }

  /**
   * Runs the write that gives bytes their row while `synced` is under way. From here on `of` tells of them, until they are
   * on disk or their row is gone.
   */
  async record<T>(object: NewObject, synced: Promise<void>, write: (synced: Promise<void>) => Promise<T>): Promise<T> {
    const isFull = this.#syncs.size >= MOST;
    const recorded = write(synced);
    const sync: Sync = { object, since: Date.now(), over: Promise.resolve() };
    sync.over = this.#follow(sync, synced, recorded);
    this.#add(sync);
    // A path that waits for it hears of a failure; there may be none.
    sync.over.catch(() => {});
    const result = await recorded;
    if (isFull) await sync.over;
    return result;
  }

  /** What the bytes of a key wait for; undefined: they are on disk, or there are none. */
  of(key: string): Promise<void> | undefined {
    const sync = this.#byKey.get(key)?.[0];
    return sync?.failure === undefined ? sync?.over : this.#giveUp(sync, sync.failure.reason);
  }

  /** Since when the oldest of a storage is under way; undefined: none is. */
  since(storage: string): number | undefined {
    for (const sync of this.#syncs) if (sync.object.storage === storage) return sync.since;
    return undefined;
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#syncs].map((sync) => sync.over));
  }

  async #follow(sync: Sync, synced: Promise<void>, recorded: Promise<unknown>): Promise<void> {
    const release = this.#init.storages.use(sync.object.storage);
    try {
      const [it] = await Promise.allSettled([synced, recorded]);
      if (it.status === 'fulfilled') this.#remove(sync);
      else await this.#giveUp(sync, it.reason);
    } finally {
      release();
    }
  }

  /**
   * Takes the row away. No path gets the NAR while that fails, as it may where a disk is full; whoever asks for it next tries
   * again. Fine where other bytes have the key, or it was moved meanwhile. @throws the reason
   */
  async #giveUp(sync: Sync, reason: unknown): Promise<void> {
    const { database, objects, logger } = this.#init;
    const { key, storage, name } = sync.object;
    let wasThere: boolean;
    try {
      wasThere = await database.write((sql) => tombstoneUnsynced(sql, sync.object));
    } catch (error) {
      sync.failure = { reason };
      throw error;
    }
    this.#remove(sync);
    if (!wasThere) return;
    logger.error({ err: reason, key, storage, name }, 'a NAR could not be synced, and is taken back: push it again');
    objects.forget(key);
    objects.collect();
    throw reason;
  }

  #add(sync: Sync): void {
    const { key } = sync.object;
    this.#syncs.add(sync);
    const beside = this.#byKey.get(key);
    if (beside === undefined) this.#byKey.set(key, [sync]);
    else beside.push(sync);
  }

  #remove(sync: Sync): void {
    const { key } = sync.object;
    this.#syncs.delete(sync);
    const rest = this.#byKey.get(key)?.filter((other) => other !== sync) ?? [];
    if (rest.length === 0) this.#byKey.delete(key);
    else this.#byKey.set(key, rest);
  }
}
