/**
 * NARs without a path that an earlier process has taken in, perhaps just before a loss of power: their row may be there
 * without their bytes, since a client has its answer before the disk has the bytes. They are synced and read before their
 * storage is ready, and gone where they are not what their row says. Until then no path may claim one.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { formatHash, sha256FromHex } from '../../nix/index.ts';
import { type LocalStorage, StorageUnavailableError } from '../../storage/index.ts';
import { inParallel } from '../flow/index.ts';
import { tombstoneUnsynced } from './tombstones.ts';

interface Orphan {
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  /** `sha256:<nix32>` */
  readonly file_hash: string;
}

const AT_ONCE = 4;

/** NARs that wait for a path; its plan is tested. */
export const WAITING_QUERY = `SELECT key, storage, name, size, file_hash FROM objects
  WHERE orphan_since IS NOT NULL AND state = 'verified'`;

export class Unproven {
  readonly #database: Database;
  readonly #logger: Logger;
  readonly #orphans = new Map<string, Orphan>();

  constructor({ database, logger }: { readonly database: Database; readonly logger: Logger }) {
    this.#database = database;
    this.#logger = logger;
  }

  /** Takes note of them, before any storage is opened and any path published. */
  async load(): Promise<void> {
    const storages = await this.#database.query<{ name: string; settled: string }>(
      `SELECT name, settled FROM storages WHERE kind = 'local'`,
    );
    const settled = new Map(storages.map((row) => [row.name, row.settled]));
    for (const orphan of await this.#database.query<Orphan>(WAITING_QUERY)) {
      const mark = settled.get(orphan.storage);
      // What lies in older folders was synced long ago.
      if (mark !== undefined && orphan.name >= mark) this.#orphans.set(orphan.key, orphan);
    }
  }

  /** Looks at those of a storage that is about to be ready. */
  async prove(storage: LocalStorage): Promise<void> {
    const orphans = [...this.#orphans.values()].filter((orphan) => orphan.storage === storage.name);
    await inParallel(AT_ONCE, orphans, async (orphan) => {
      const { key, name, size, file_hash } = orphan;
      const hash = await storage.prove(name, size);
      const isProven = hash !== undefined && formatHash(sha256FromHex(hash)) === file_hash;
      if (!isProven && (await this.#database.write((sql) => tombstoneUnsynced(sql, orphan))))
        this.#logger.warn({ storage: storage.name, key }, 'a NAR without a path had not reached the disk: it is gone');
      this.#orphans.delete(key);
    });
  }

  /** What a path waits for that would claim the NAR called `key`; undefined: nothing. Rejects where its storage is away. */
  of(key: string): Promise<void> | undefined {
    const orphan = this.#orphans.get(key);
    return orphan && this.#look(orphan);
  }

  async #look({ key, storage, name }: Orphan): Promise<void> {
    const rows = await this.#database.query(
      'SELECT 1 FROM objects WHERE storage = ? AND name = ? AND orphan_since IS NOT NULL',
      [storage, name],
    );
    if (rows.length > 0 && this.#orphans.has(key))
      throw new StorageUnavailableError(storage, `it was not there since this server started, and holds ${key}`);
    this.#orphans.delete(key);
  }
}
