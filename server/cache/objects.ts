/**
 * Objects: bytes in a storage with a row. NARs, listings, logs, debuginfo and realisations are all the same here.
 * A key's bytes are found through its row, never by asking a storage; a replaced object is tombstoned in the same
 * transaction and its bytes are removed afterwards, at the latest by the next start.
 */
import type { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import type { Logger } from 'pino';
import type { Database, Sql, Statement } from '../metadata/index.ts';
import { type ByteRange, crashPoint, ObjectMissingError } from '../storage/index.ts';
import { CacheError } from './errors.ts';
import type { Body } from './incoming.ts';
import { receive } from './incoming.ts';
import type { NarFacts } from './paths.ts';
import { patiently } from './patience.ts';
import type { Storages } from './storages.ts';

export interface StoredObject {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
}

/** A row to be: bytes that are durable in a storage and not yet visible. */
export interface NewObject {
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
}

export interface ObjectsInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly logger: Logger;
}

const CACHED_ROWS = 50_000;
const SHARED_ROW_MS = 1_000;
const COLLECT_PAGE = 1000;

export class Objects {
  readonly #init: ObjectsInit;
  readonly #rows: LRUCache<string, StoredObject>;
  #collecting: Promise<void> | undefined;
  /** Whether rows may have been tombstoned since the last look. */
  #asked = false;

  constructor(init: ObjectsInit) {
    this.#init = init;
    // Another server may replace or remove an object, and only paths are announced.
    this.#rows = new LRUCache({ max: CACHED_ROWS, ttl: init.database.isShared ? SHARED_ROW_MS : 0 });
  }

  /** The row from memory, for answers that should not wait for the database. */
  cached(key: string): StoredObject | undefined {
    return this.#rows.get(key);
  }

  async find(key: string): Promise<StoredObject | undefined> {
    const cached = this.#rows.get(key);
    if (cached !== undefined) return cached;
    const rows = await this.#init.database.query<StoredObject>(OBJECT_QUERY, [key]);
    const row = rows[0];
    if (row !== undefined) this.#rows.set(key, row);
    return row;
  }

  /** @throws StorageUnavailableError (503, not 404: the object exists) */
  async read(object: StoredObject, range: ByteRange): Promise<Buffer | Readable> {
    try {
      return await this.#init.storages.get(object.storage).get(object.name, range);
    } catch (error) {
      // The row may be one that was replaced between our look at it and at the bytes: the next look is a fresh one.
      if (error instanceof ObjectMissingError) this.#rows.delete(object.key);
      throw error;
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
    this.#rows.delete(key);
    this.collect();
  }

  /**
   * Runs the write that gives durable bytes their row. Where it fails for good the bytes go, unless the row got there
   * after all: a commit that failed may have reached the disk.
   */
  async record<T>(object: NewObject, write: () => Promise<T>): Promise<T> {
    const { database, storages, logger } = this.#init;
    try {
      return await patiently(write, storages.settings.transientRetryMs);
    } catch (error) {
      try {
        const rows = await database.query('SELECT 1 FROM objects WHERE storage = ? AND name = ?', [
          object.storage,
          object.name,
        ]);
        if (rows.length === 0) {
          await storages.get(object.storage).delete(object.name);
          storages.count(object.storage, -object.size);
        }
      } catch (it) {
        logger.error({ err: it, storage: object.storage, name: object.name }, 'bytes without a row may be left over');
      }
      throw error;
    }
  }

  /** Forgets what is known of a key, after its row changed. */
  forget(key: string): void {
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

  /** Removes some; how many there were. What lies in a storage that is not there waits until it is back. */
  async #collectPage(): Promise<number> {
    const { database, storages } = this.#init;
    const ready = storages.list().filter((storage) => storage.health().state === 'Ready');
    const rows = await database.query<StoredObject>(tombstonesQuery(database), [
      database.list(ready.map((storage) => storage.name)),
    ]);
    for (const row of rows) {
      crashPoint('before-delete');
      await storages.get(row.storage).delete(row.name);
      crashPoint('after-delete');
    }
    const ids = database.list(rows.map((row) => row.id));
    await database.write((sql) =>
      sql.query(`DELETE FROM objects WHERE state = 'tombstoned' AND ${database.isOneOf('id')}`, [ids]),
    );
    for (const row of rows) storages.count(row.storage, -row.size);
    return rows.length;
  }
}

/** What a read of an object begins with; its plan is tested. */
export const OBJECT_QUERY = `SELECT id, key, storage, name, size FROM objects WHERE key = ? AND state = 'verified'`;

/** Rows whose bytes can be removed now; its plan is tested. */
export function tombstonesQuery(database: Pick<Database, 'isOneOf'>): string {
  return `SELECT id, storage, name, size FROM objects WHERE state = 'tombstoned'
    AND ${database.isOneOf('storage')} ORDER BY created_at LIMIT ${COLLECT_PAGE}`;
}

/** Inserts an object; fails where its key is taken. */
export function objectStatement(object: NewObject, nar?: NarFacts, orphanSince: number | null = null): Statement {
  const { compression = null, fileHash = null, narHash = null, narSize = null } = nar ?? {};
  return [
    `INSERT INTO objects (key, storage, name, size, state, created_at, compression, file_hash, nar_hash, nar_size, orphan_since)
     VALUES (?, ?, ?, ?, 'verified', ?, ?, ?, ?, ?, ?)`,
    object.key,
    object.storage,
    object.name,
    object.size,
    Date.now(),
    compression,
    fileHash,
    narHash,
    narSize,
    orphanSince,
  ];
}

/** Inserts an object; its id, or undefined when the key is taken. */
export async function insertObject(
  sql: Sql,
  object: NewObject,
  nar?: NarFacts,
  orphanSince: number | null = null,
): Promise<number | undefined> {
  const [text, ...values] = objectStatement(object, nar, orphanSince);
  const rows = await sql.query<{ id: number }>(`${text} ON CONFLICT (key) DO NOTHING RETURNING id`, values);
  return rows[0]?.id;
}

/**
 * Records bytes that lost a race, so that they are removed even if the process dies now. Where they have a row already,
 * they lost it to themselves: the same write ran before, and was said to have failed.
 */
export async function insertTombstone(sql: Sql, object: NewObject): Promise<void> {
  await sql.query(
    `INSERT INTO objects (key, storage, name, size, state, created_at) VALUES (NULL, ?, ?, ?, 'tombstoned', ?)
     ON CONFLICT (storage, name, size) DO NOTHING`,
    [object.storage, object.name, object.size, Date.now()],
  );
}

/** Takes an object out of sight; its bytes go later. */
export async function tombstone(sql: Sql, id: number): Promise<void> {
  await sql.query(`UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL WHERE id = ?`, [id]);
}

/**
 * Takes a NAR out of sight that no path has claimed since `before`. One statement: a path may be claiming it on another
 * server at this moment, and whoever comes second then finds it gone or claimed. Whether it was taken.
 */
export async function tombstoneOrphan(sql: Sql, id: number, before: number): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL
     WHERE id = ? AND state = 'verified' AND orphan_since < ? RETURNING id`,
    [id, before],
  );
  return rows.length > 0;
}

/** Unpublishes the paths whose NAR an object is, and tells the other servers. */
export async function unpublish(database: Database, sql: Sql, objectId: number): Promise<void> {
  const paths = await sql.query<{ hash_part: string }>('DELETE FROM paths WHERE object_id = ? RETURNING hash_part', [
    objectId,
  ]);
  await sql.run(database.announce(paths.map((path) => path.hash_part)));
}

/** How often a key is taken away from us before a client hears of it. */
const REPLACEMENTS = 20;

/**
 * Puts an object in the place of the one with its key. Another server may do the same: whoever commits last stays, and
 * the bytes of the other go.
 */
export async function replaceObject(sql: Sql, object: NewObject): Promise<void> {
  for (let attempt = 0; attempt < REPLACEMENTS; attempt++) {
    const [old] = await sql.query<Pick<StoredObject, 'id' | 'storage' | 'name'>>(
      'SELECT id, storage, name FROM objects WHERE key = ?',
      [object.key],
    );
    // The same write ran before, and was said to have failed.
    if (old?.storage === object.storage && old.name === object.name) return;
    if (old !== undefined) await tombstone(sql, old.id);
    if ((await insertObject(sql, object)) !== undefined) return;
  }
  throw new CacheError('Unavailable', `${object.key} is being replaced by other requests`);
}
