/**
 * Objects whose bytes are gone, cut short or changed. Nothing is marked lost on the word of one read that failed: row and
 * bytes are looked at again, between two looks at the storage's marker, so that a disk that was unmounted meanwhile, or a
 * bucket that is another one now, loses nothing. What is marked is seen by all servers: its paths are not served, pushers
 * are told that they are missing, and the next push heals them.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { formatHash, sha256FromHex } from '../../nix/index.ts';
import { ObjectMissingError, type Storage, StorageUnavailableError } from '../../storage/index.ts';
import { closingStatements } from '../closures/index.ts';
import type { Examined, KnownObject, Objects } from '../objects/index.ts';
import {
  giveUpLost,
  hashOf,
  isLostNow,
  LOST_COUNTS_QUERY,
  type Loss,
  type LostCount,
  markLost,
  restoreLost,
} from '../objects/index.ts';
import type { Storages } from '../storages/index.ts';
import type { Paths } from './paths.ts';

export interface LostInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly paths: Paths;
  readonly logger: Logger;
}

export class Lost {
  readonly #init: LostInit;
  /** Looks that run, by object: many may want the same one at the same time. */
  readonly #looks = new Map<number, Promise<boolean>>();

  constructor(init: LostInit) {
    this.#init = init;
  }

  /**
   * Looks at an object that somebody could not read, and marks it where its bytes are not those of its row. Whether it is
   * lost: false means that all is well, or that the row has changed.
   * @param contents whether to read all bytes too
   * @throws StorageUnavailableError, CacheError Unavailable: its storage is away, and nothing is marked
   */
  report(object: Examined, contents = false): Promise<boolean> {
    let look = this.#looks.get(object.id);
    if (look === undefined) {
      look = this.#look(object, contents).finally(() => this.#looks.delete(object.id));
      this.#looks.set(object.id, look);
    }
    return look;
  }

  async #look(object: Examined, contents: boolean): Promise<boolean> {
    const loss = await this.#examine(object, contents);
    if (loss === undefined) return false;
    try {
      return await this.#mark(object, loss);
    } catch (error) {
      // It is lost all the same, and whoever reads it next tries again to say so.
      this.#init.logger.error({ err: error, key: object.key }, 'a lost object could not be marked as lost');
      return true;
    }
  }

  /** What is wrong with the bytes, with the storage there before and after. */
  async #examine(object: Examined, contents: boolean): Promise<Loss | undefined> {
    const { storages } = this.#init;
    await storages.confirm(object.storage);
    const loss = await examine(storages.get(object.storage), object, contents);
    await storages.confirm(object.storage);
    return loss;
  }

  async #mark(object: Examined, loss: Loss): Promise<boolean> {
    const { database, paths, logger } = this.#init;
    const hashParts = await database
      .write(async (sql) => {
        const marked = await markLost(sql, object, loss);
        if (marked === undefined) return undefined;
        // Inside, where writes have an order: a push that heals it comes later, and says so later.
        paths.hide(marked);
        await sql.run([...closingStatements(marked), ...database.announce(marked)]);
        return marked;
      })
      .catch(async (error: unknown) => {
        paths.forgetAll();
        await paths.lookAgain(object.key);
        throw error;
      });
    this.#changed(object, hashParts ?? []);
    if (hashParts === undefined) return isLostNow(database, object);
    paths.remove(hashParts);
    logger.error(
      { storage: object.storage, key: object.key, name: object.name, loss, paths: hashParts },
      'an object is lost: push it again, or give it up with "check --repair"',
    );
    return true;
  }

  /**
   * Looks at a lost object once more: a file may turn up again, from a backup. Whether it is served again.
   * @throws StorageUnavailableError, CacheError Unavailable
   */
  async restore(object: Examined): Promise<boolean> {
    const { database, paths, logger } = this.#init;
    if ((await this.#examine(object, true)) !== undefined) return false;
    const hashParts = await database.write(async (sql) => {
      const restored = await restoreLost(sql, object);
      await sql.run(database.announce(restored ?? []));
      return restored;
    });
    if (hashParts === undefined) return false;
    this.#changed(object, hashParts);
    await paths.show(hashParts);
    logger.info({ storage: object.storage, key: object.key, paths: hashParts }, 'a lost object is there again');
    return true;
  }

  /** Unpublishes a lost object for good. False: it is not lost any more. */
  async giveUp(object: KnownObject): Promise<boolean> {
    const { database, objects, paths } = this.#init;
    const hashParts = await database.write(async (sql) => {
      const given = await giveUpLost(sql, object);
      await sql.run([...closingStatements(given ?? []), ...database.announce(given ?? [])]);
      return given;
    });
    if (hashParts === undefined) return false;
    this.#changed(object, hashParts);
    paths.remove(hashParts);
    objects.collect();
    return true;
  }

  #changed(object: KnownObject, hashParts: readonly string[]): void {
    this.#init.objects.forget(object.key);
    if (hashParts.length > 0) this.#init.paths.forget(hashParts);
  }

  /** Lost objects by the name of their storage. By an index of their own: it costs no more than they are. */
  async counts(): Promise<ReadonlyMap<string, number>> {
    const rows = await this.#init.database.query<LostCount>(LOST_COUNTS_QUERY);
    return new Map(rows.map(({ storage, n }) => [storage, Number(n)]));
  }
}

/** How bytes are read that are only looked at. */
export interface Reading {
  /** Waits until so many bytes more may be read. */
  readonly pace?: (bytes: number) => Promise<void>;
}

/**
 * What is wrong with the bytes of an object; undefined: nothing.
 * @param contents whether to compare the hash of a NAR's file too @throws StorageUnavailableError
 */
export async function examine(
  storage: Storage,
  { name, size, file_hash }: Pick<Examined, 'name' | 'size' | 'file_hash'>,
  contents: boolean,
  { pace }: Reading = {},
): Promise<Loss | undefined> {
  try {
    const found = await storage.stat(name);
    if (found === undefined) return 'missing';
    if (found !== size) return 'wrong-size';
    if (!contents || file_hash === null) return undefined;
    const hash = await hashOf(storage, name, size, pace);
    return formatHash(sha256FromHex(hash)) === file_hash ? undefined : 'wrong-hash';
  } catch (error) {
    if (error instanceof ObjectMissingError) return 'missing';
    const isAborted = error instanceof Error && error.name === 'AbortError';
    if (isAborted || error instanceof StorageUnavailableError) throw error;
    // Whatever a disk answers: that says nothing of whether the bytes are lost.
    throw new StorageUnavailableError(storage.name, String(error), { cause: error });
  }
}

/** In words, of what there is. */
export function wordsOfLost(counts: ReadonlyMap<string, number>): string {
  const total = [...counts.values()].reduce((sum, n) => sum + n, 0);
  if (total === 0) return 'none is lost';
  const where = [...counts].map(([storage, n]) => `storage ${storage}: ${n}`).join(', ');
  return `${total} ${total === 1 ? 'is' : 'are'} lost (${where}); push the paths again, or give them up with "narwhal-server check --repair"`;
}
