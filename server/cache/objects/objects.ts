/**
 * Objects: bytes in a storage with a row. NARs, listings, logs, debuginfo and realisations are all the same here.
 * A key's bytes are found through its row, never by asking a storage; a replaced object is tombstoned in the same
 * transaction and its bytes are removed afterwards, at the latest by the next start.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import {
  type ByteRange,
  crashPoint,
  ObjectMissingError,
  type Storage,
  StorageUnavailableError,
} from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { inParallel, withRetries } from '../flow/index.ts';
import type { Storages } from '../storages/index.ts';
import { type Body, receive } from './incoming.ts';
import type { Intents } from './intents.ts';
import type { NewObject, StoredObject } from './object.ts';
import { replaceObject } from './rows.ts';

export interface ObjectsInit {
  readonly intents: Intents;
  readonly database: Database;
  readonly storages: Storages;
  readonly logger: Logger;
  /**
   * Whether an object that could not be read is lost; it is marked so then.
   * @throws StorageUnavailableError, CacheError Unavailable
   */
  readonly isLost: (object: StoredObject) => Promise<boolean>;
}

const CACHED_ROWS = 50_000;
/** How long a server may believe that an object is where another one has moved it away from; only paths are announced. */
export const STALE_ROW_MS = 1_000;
const RECENT_MISSES = 1000;
const RECENT_MS = 60_000;
const COLLECT_PAGE = 1000;
/** Removals at one time: a service takes 20 ms for each. */
const COLLECT_AT_ONCE = 8;
/** Moves of one object while it is read. */
const MOST_MOVES = 3;
/** An object to which clients are redirected is looked at this often, and so many at one time. */
const LOOK_MS = 60_000;
const LOOKS_AT_ONCE = 4;

export class Objects {
  readonly #init: ObjectsInit;
  readonly #rows: LRUCache<string, StoredObject>;
  /** Keys that were looked for in vain. */
  readonly #missed = new LRUCache<string, true>({ max: RECENT_MISSES, ttl: RECENT_MS });
  /** Changes whenever a row does, so that a slow read never remembers what a faster write made old. */
  #epoch = 0;
  /** Objects that were looked at behind a redirect. */
  readonly #looked = new LRUCache<number, true>({ max: CACHED_ROWS, ttl: LOOK_MS });
  #looking = 0;
  #collecting: Promise<void> | undefined;
  /** Whether rows may have been tombstoned since the last look. */
  #asked = false;

  constructor(init: ObjectsInit) {
    this.#init = init;
    // Alone this process hears of every move; another server's may be known for that long.
    const limits = init.database.isShared ? { max: CACHED_ROWS, ttl: STALE_ROW_MS } : { max: CACHED_ROWS };
    this.#rows = new LRUCache(limits);
  }

  /** The row from memory, for answers that should not wait for the database. */
  cached(key: string): StoredObject | undefined {
    return this.#rows.get(key);
  }

  async find(key: string): Promise<StoredObject | undefined> {
    const cached = this.#rows.get(key);
    if (cached !== undefined) return cached;
    const epoch = this.#epoch;
    const rows = await this.#init.database.query<StoredObject>(OBJECT_QUERY, [key]);
    const row = rows[0];
    if (row === undefined) this.#missed.set(key, true);
    else if (epoch === this.#epoch) this.#rows.set(key, row);
    return row;
  }

  /**
   * Like `find` for whoever brings the bytes: where somebody has asked for the key a moment ago in vain, as nix does before a
   * PUT, that will do. Who came in between is found by the key's constraint.
   */
  async findAgain(key: string): Promise<StoredObject | undefined> {
    return this.#missed.delete(key) ? this.cached(key) : this.find(key);
  }

  /** @throws StorageUnavailableError (503, not 404: the object exists), CacheError NotFound (lost, or given up just now) */
  read(object: StoredObject, range: ByteRange): Promise<Buffer | Readable> {
    return this.#whereItIs(object, (storage, name) => storage.get(name, range));
  }

  /** Where a client may read an object by itself. @throws StorageUnavailableError, CacheError NotFound */
  async readUrl(object: StoredObject): Promise<string | undefined> {
    const url = await this.#whereItIs(object, (storage, name) => storage.readUrl(name));
    if (url !== undefined) this.#lookBehind(object);
    return url;
  }

  /**
   * What a client finds where it was sent to, it does not tell us. So we look too, after our answer and not before it: it
   * costs no read any time, and nix takes a 404 from the bucket as it takes one from us.
   */
  #lookBehind(object: StoredObject): void {
    if (this.#looking >= LOOKS_AT_ONCE || this.#looked.has(object.id)) return;
    this.#looked.set(object.id, true);
    this.#looking++;
    this.isWhole(object)
      .catch((error: unknown) => {
        this.#looked.delete(object.id);
        this.#init.logger.debug({ err: error, key: object.key }, 'an object could not be looked at');
      })
      .finally(() => {
        this.#looking--;
      });
  }

  /**
   * Whether as many bytes as the row says are where it says; an object of which that is not so is lost from now on.
   * @throws StorageUnavailableError, CacheError Unavailable
   */
  async isWhole(object: StoredObject): Promise<boolean> {
    try {
      await this.#whereItIs(object, (storage, name) => look(storage, name, object.size));
      return true;
    } catch (error) {
      if (error instanceof CacheError && error.code === 'NotFound') return false;
      throw error;
    }
  }

  /**
   * The row may be one from before the object was moved or replaced, by another server too: then the new one counts. What
   * is not where the newest row says is lost, or its storage is away.
   */
  async #whereItIs<T>(object: StoredObject, work: (storage: Storage, name: string) => Promise<T>): Promise<T> {
    const { storages, isLost } = this.#init;
    const gone = (cause: unknown) =>
      new CacheError('NotFound', `${object.key} is not here any more; push it again`, { cause });
    let at = object;
    for (let moves = 0; ; moves++) {
      try {
        return await work(storages.get(at.storage), at.name);
      } catch (error) {
        if (!mayHaveMoved(error) || moves === MOST_MOVES) throw error;
        this.forget(object.key);
        const now = await this.find(object.key);
        if (now === undefined) throw gone(error);
        const isSame = now.storage === at.storage && now.name === at.name;
        if (now.size !== object.size || (isSame && !(error instanceof ObjectMissingError))) throw error;
        if (isSame && (await isLost(now))) throw gone(error);
        at = now;
      }
    }
  }

  /**
   * The file that holds it whole, for a program on this machine that reads it by itself: its storage, and its name there.
   * Undefined: it lies in no file. @throws StorageUnavailableError, CacheError NotFound
   */
  file(object: StoredObject): Promise<{ readonly storage: string; readonly name: string } | undefined> {
    return this.#whereItIs(object, async (storage, name) => {
      if (storage.kind !== 'local') return undefined;
      await look(storage, name, object.size);
      return { storage: storage.name, name };
    });
  }

  /** The same for whoever would send the bytes: in a storage that is away they are believed to be there. */
  async isThere(object: StoredObject): Promise<boolean> {
    try {
      return await this.isWhole(object);
    } catch (error) {
      this.#init.logger.debug({ err: error, key: object.key }, 'an object could not be looked at');
      return true;
    }
  }

  /**
   * Stores an auxiliary object as it came. The same key again replaces the bytes, under a new name.
   * @throws CacheError TooLarge, NoSpace, Incomplete
   */
  async put(key: string, body: Body, limits: { maxBytes: number; declaredBytes: number | undefined }): Promise<void> {
    const incoming = await receive({ storages: this.#init.storages, ...limits }, body);
    try {
      const object = await incoming.commit(key);
      await this.record(object, () => this.#init.database.write((sql) => replaceObject(sql, object)));
    } finally {
      await incoming.close();
    }
    this.forget(key);
    this.collect();
  }

  /**
   * Runs the write that gives durable bytes their row. Where it fails for good the bytes go, unless the row got there
   * after all: a commit that failed may have reached the disk.
   */
  async record<T>(object: NewObject, write: () => Promise<T>): Promise<T> {
    const { database, storages, intents, logger } = this.#init;
    try {
      const result = await withRetries(write, storages.settings.transientRetryMs);
      if (object.isIntended) intents.end(object.storage, object.name);
      this.#missed.delete(object.key);
      return result;
    } catch (error) {
      try {
        const rows = await database.query('SELECT 1 FROM objects WHERE storage = ? AND name = ?', [
          object.storage,
          object.name,
        ]);
        if (rows.length === 0) {
          storages.count(object.storage, -object.size);
          if (object.isIntended) intents.drop(object.storage, object.name);
          else await storages.get(object.storage).delete(object.name);
        }
      } catch (it) {
        logger.error({ err: it, storage: object.storage, name: object.name }, 'bytes without a row may be left over');
      }
      throw error;
    }
  }

  /** Forgets what is known of a key, after its row changed. */
  forget(key: string): void {
    this.#epoch++;
    this.#rows.delete(key);
  }

  /** Begins to remove the bytes of tombstoned rows; the work goes on in the background. */
  collect(): void {
    this.#asked = true;
    this.#collecting ??= this.#collect()
      .catch((error: unknown) => this.#init.logger.error({ err: error }, 'tombstoned objects could not be removed'))
      .finally(() => {
        this.#collecting = undefined;
      });
  }

  /** Resolves when no removal runs. */
  async idle(): Promise<void> {
    await this.#collecting;
  }

  async #collect(): Promise<void> {
    for (let found = 0; this.#asked || found === COLLECT_PAGE; ) {
      this.#asked = false;
      found = await this.#collectPage();
    }
  }

  /** Removes some; how many. What lies in a storage that is not there, or may still be read, waits. */
  async #collectPage(): Promise<number> {
    const { database, storages, logger } = this.#init;
    const ready = storages.list().filter((storage) => storage.health().state === 'Ready');
    const rows = await database.query<StoredObject>(tombstonesQuery(database), [
      Date.now(),
      database.list(ready.map((storage) => storage.name)),
    ]);
    const removed: StoredObject[] = [];
    await inParallel(COLLECT_AT_ONCE, rows, async (row) => {
      crashPoint('before-delete');
      try {
        await storages.get(row.storage).delete(row.name);
        removed.push(row);
      } catch (error) {
        // One storage that fails must not keep the bytes of the others.
        logger.warn({ err: error, storage: row.storage, name: row.name }, 'bytes could not be removed yet');
      }
      crashPoint('after-delete');
    });
    const ids = database.list(removed.map((row) => row.id));
    await database.write((sql) =>
      sql.query(`DELETE FROM objects WHERE state = 'tombstoned' AND ${database.isOneOf('id')}`, [ids]),
    );
    for (const row of removed) storages.count(row.storage, -row.size);
    return removed.length;
  }
}

/** Whether all bytes are there. @throws StorageUnavailableError, ObjectMissingError */
async function look(storage: Storage, name: string, size: number): Promise<void> {
  const health = storage.health();
  if (health.state === 'Unavailable') throw new StorageUnavailableError(storage.name, health.reason);
  if ((await storage.stat(name)) !== size) throw new ObjectMissingError(storage.name, name);
}

function mayHaveMoved(error: unknown): boolean {
  if (error instanceof CacheError) return error.code === 'Unavailable';
  return error instanceof ObjectMissingError || error instanceof StorageUnavailableError;
}

/** What a read of an object begins with; its plan is tested. */
export const OBJECT_QUERY = `SELECT id, key, storage, name, size, file_hash FROM objects WHERE key = ? AND state = 'verified'`;

/** Rows whose bytes can be removed now; its plan is tested. */
export function tombstonesQuery(database: Pick<Database, 'isOneOf'>): string {
  return `SELECT id, storage, name, size FROM objects WHERE state = 'tombstoned'
    AND (delete_after IS NULL OR delete_after <= ?) AND ${database.isOneOf('storage')} ORDER BY created_at LIMIT ${COLLECT_PAGE}`;
}
