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
  readonly key: string;
  readonly storage: string;
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Rejects where the bytes are not on disk. */
  readonly over: Promise<void>;
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
    const over = this.#follow(object, synced, recorded, () => this.#remove(sync));
    const sync: Sync = { key: object.key, storage: object.storage, since: Date.now(), over };
    this.#add(sync);
    // A path that waits for it hears of a failure; there may be none.
    over.catch(() => {});
    const result = await recorded;
    if (isFull) await over;
    return result;
  }

  /** What the bytes of a key wait for; undefined: they are on disk, or there are none. */
  of(key: string): Promise<void> | undefined {
    return this.#byKey.get(key)?.[0]?.over;
  }

  /** Since when the oldest of a storage is under way; undefined: none is. */
  since(storage: string): number | undefined {
    for (const sync of this.#syncs) if (sync.storage === storage) return sync.since;
    return undefined;
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#syncs].map((sync) => sync.over));
  }

  async #follow(object: NewObject, synced: Promise<void>, recorded: Promise<unknown>, end: () => void): Promise<void> {
    const release = this.#init.storages.use(object.storage);
    try {
      const [sync] = await Promise.allSettled([synced, recorded]);
      const isThere = sync.status === 'fulfilled' || !(await this.#takeBack(object, sync.reason));
      end();
      if (!isThere) throw sync.reason;
    } finally {
      release();
    }
  }

  /**
   * Takes the row away. False: other bytes have the key, or it was moved meanwhile. Where that fails no path gets the NAR for
   * as long as this process lives, and the next start looks at it.
   */
  async #takeBack(object: NewObject, reason: unknown): Promise<boolean> {
    const { database, objects, logger } = this.#init;
    const { key, storage, name } = object;
    if (!(await database.write((sql) => tombstoneUnsynced(sql, object)))) return false;
    logger.error({ err: reason, key, storage, name }, 'a NAR could not be synced, and is taken back: push it again');
    objects.forget(key);
    objects.collect();
    return true;
  }

  #add(sync: Sync): void {
    this.#syncs.add(sync);
    const beside = this.#byKey.get(sync.key);
    if (beside === undefined) this.#byKey.set(sync.key, [sync]);
    else beside.push(sync);
  }

  #remove(sync: Sync): void {
    this.#syncs.delete(sync);
    const rest = this.#byKey.get(sync.key)?.filter((other) => other !== sync) ?? [];
    if (rest.length === 0) this.#byKey.delete(sync.key);
    else this.#byKey.set(sync.key, rest);
  }
}
