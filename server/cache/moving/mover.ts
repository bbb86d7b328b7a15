/**
 * Moves one object to another storage, and knows nothing of why. The bytes are copied and read back where they lie now;
 * only when they are the right ones does one transaction make the row point at them, and give the old ones a tombstone.
 * Until then readers find the old bytes, afterwards the new ones; whoever still reads the old ones has a while to finish.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Database, Sql } from '../../metadata/index.ts';
import { formatHash, sha256FromHex } from '../../nix/index.ts';
import { crashPoint, type Storage, StorageUnavailableError } from '../../storage/index.ts';
import { RateLimit } from '../flow/index.ts';
import type { NewObject } from '../objects/index.ts';
import {
  endStatement,
  hashOf,
  type Intents,
  insertTombstone,
  type Objects,
  piecesOf,
  STALE_ROW_MS,
} from '../objects/index.ts';
import type { Lost } from '../paths/index.ts';
import type { Settings } from '../settings.ts';
import type { Placement, Storages } from '../storages/index.ts';

export interface MoverInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly intents: Intents;
  readonly lost: Pick<Lost, 'report'>;
  readonly settings: Settings;
}

/** A row of `objects` that is served. */
export interface Movable {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  /** Of a NAR. */
  readonly file_hash: string | null;
}

export const MOVABLE = 'id, key, storage, name, size, file_hash';

/** The bytes that a row promises are not there, or are other ones. */
export class BadObjectError extends Error {
  override readonly name = 'BadObjectError';
  /** Only whoever reads all bytes finds what is wrong. */
  readonly hasItsSize: boolean;
  constructor(message: string, options: ErrorOptions & { hasItsSize?: boolean } = {}) {
    super(message, options);
    this.hasItsSize = options.hasItsSize ?? false;
  }
}

export interface MoveOptions {
  readonly signal: AbortSignal;
  /** Whether nobody else can be reading the old bytes. */
  readonly isAlone?: boolean;
  /** Hears of bytes that were read. */
  readonly onRead?: (bytes: number) => void;
}

export class Mover {
  readonly #init: MoverInit;
  readonly #rate: RateLimit;

  constructor(init: MoverInit) {
    this.#init = init;
    this.#rate = new RateLimit({ bytesPerSecond: () => init.settings.moveBytesPerSecond });
  }

  /**
   * Moves an object to where there is room for it. False: meanwhile it was replaced, moved or removed. One that is bad is
   * marked as lost, so that pushers hear of it.
   * @throws BadObjectError (the object), StorageFullError (the target), StorageUnavailableError (which one, it says)
   */
  async move(object: Movable, { storage: target }: Placement, options: MoveOptions): Promise<boolean> {
    const { database, storages, objects, lost } = this.#init;
    const source = storages.get(object.storage);
    const to = await this.#copy(object, source, target, options).catch(async (error: unknown) => {
      if (error instanceof BadObjectError) await lost.report(object, error.hasItsSize);
      throw error;
    });
    storages.count(to.storage, to.size);
    crashPoint('after-copy');
    const isMoved = await objects.record(to, () =>
      database.write((sql) => switchRow(sql, object, to, this.#deleteAfter(source, options.isAlone))),
    );
    crashPoint('after-switch');
    objects.forget(object.key);
    if (!isMoved) objects.collect();
    return isMoved;
  }

  /** Durable, verified bytes that no row knows yet. */
  async #copy(object: Movable, source: Storage, target: Storage, options: MoveOptions): Promise<NewObject> {
    const staged = target.stage(randomUUID(), object.size);
    const isIntended = staged.file === undefined;
    let name: string | undefined;
    try {
      const hash = createHash('sha256');
      await staged.write(this.#read(object, source, hash, options));
      const found = hash.digest('hex');
      if (object.file_hash !== null && formatHash(sha256FromHex(found)) !== object.file_hash)
        throw new BadObjectError(`${object.key} has other bytes than its row says`, { hasItsSize: true });
      name = await staged.commit();
      if ((await hashOf(target, name, object.size)) !== found)
        throw new Error(`storage ${target.name} gives back other bytes of ${object.key} than it was given`);
      options.signal.throwIfAborted();
      return { key: object.key, storage: target.name, name, size: object.size, isIntended };
    } catch (error) {
      await staged.discard();
      if (name !== undefined && !isIntended) await target.delete(name).catch(() => {});
      throw error;
    }
  }

  /** The bytes of an object, no more and no fewer, at the rate that is allowed. */
  async *#read(
    object: Movable,
    source: Storage,
    hash: ReturnType<typeof createHash>,
    { signal, onRead }: MoveOptions,
  ): AsyncGenerator<Uint8Array> {
    let size = 0;
    try {
      for await (const piece of piecesOf(source, object.name, object.size)) {
        await this.#rate.take(piece.length, signal);
        signal.throwIfAborted();
        size += piece.length;
        hash.update(piece);
        onRead?.(piece.length);
        yield piece;
      }
    } catch (error) {
      throw signal.aborted ? error : await whatIsWrong(error, object, source);
    }
    if (size !== object.size) throw new BadObjectError(wrongSize(object, size));
  }

  /** Null: at once. */
  #deleteAfter(source: Storage, isAlone = false): number | null {
    if (isAlone) return null;
    const { database, settings } = this.#init;
    const urls = source.urlsEndAt();
    // Another server may give out such a URL for as long as it remembers the row.
    const lastUrl = urls === 0 ? 0 : urls + (database.isShared ? STALE_ROW_MS : 0);
    return Math.max(Date.now() + settings.moveGraceMs, lastUrl);
  }
}

/**
 * Points a row at its new bytes and gives the old ones a tombstone; where it is no longer the row that was copied, the new
 * ones get it. Whether it was switched, now or by an earlier try of the same write that was said to have failed.
 */
async function switchRow(sql: Sql, from: Movable, to: NewObject, deleteAfter: number | null): Promise<boolean> {
  const switched = await sql.query(
    `UPDATE objects SET storage = ?, name = ?
     WHERE id = ? AND storage = ? AND name = ? AND state = 'verified' RETURNING id`,
    [to.storage, to.name, from.id, from.storage, from.name],
  );
  if (to.isIntended) await sql.run([endStatement(to.storage, to.name)]);
  if (switched.length > 0) {
    await insertTombstone(sql, from, deleteAfter);
    return true;
  }
  const known = await sql.query(`SELECT 1 FROM objects WHERE storage = ? AND name = ? AND state = 'verified'`, [
    to.storage,
    to.name,
  ]);
  if (known.length > 0) return true;
  await insertTombstone(sql, to);
  return false;
}

/** What a read that failed means: is the object at fault, or its storage? */
async function whatIsWrong(error: unknown, object: Movable, source: Storage): Promise<Error> {
  // S3 answers a range beyond the end of an object as if it were at fault itself.
  const size = await source.stat(object.name).catch(() => object.size);
  if (size === undefined) return new BadObjectError(`${object.key} has a row but no bytes`, { cause: error });
  if (size !== object.size) return new BadObjectError(wrongSize(object, size), { cause: error });
  if (error instanceof StorageUnavailableError) return error;
  return new StorageUnavailableError(source.name, String(error), { cause: error });
}

function wrongSize({ key, size }: Movable, found: number): string {
  return `${key} has ${found} bytes, its row says ${size}`;
}

const PAGE = 500;

/** What is in a storage now, in the order of names, which is that of time. */
export async function* movablesIn(database: Database, storage: string): AsyncGenerator<Movable> {
  for (let after = ''; ; ) {
    const page = await database.query<Movable>(
      `SELECT ${MOVABLE} FROM objects WHERE storage = ? AND name > ? AND state = 'verified' ORDER BY name LIMIT ${PAGE}`,
      [storage, after],
    );
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.name;
  }
}
