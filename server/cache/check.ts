/**
 * The full scan behind `narwhal-server check`: every row beside its bytes, every file beside its row. It changes
 * nothing unless asked to repair, and never touches a storage that is not available.
 */
import type { Database } from '../metadata/index.ts';
import { formatHash, sha256FromHex } from '../nix/index.ts';
import { ObjectMissingError, type Storage, StorageUnavailableError, type StoredEntry } from '../storage/index.ts';
import { hashOf } from './mover.ts';
import { unpublish } from './objects.ts';
import { inParallel } from './parallel.ts';
import { RateLimit } from './rate-limit.ts';
import type { Storages } from './storages.ts';

export interface CheckInit {
  readonly database: Database;
  readonly storages: Storages;
  /** Also read every NAR and compare its SHA-256. */
  readonly contents: boolean;
  readonly bytesPerSecond: number | undefined;
  /** Unpublish what has no bytes, remove files without rows. */
  readonly repair: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Finding {
  readonly kind: 'missing' | 'wrong-size' | 'wrong-hash' | 'no-row' | 'unavailable' | 'given-up' | 'interrupted';
  readonly storage: string;
  /** Key of the object, or its file name where it has no row. */
  readonly object: string;
  /** Store path hash parts that cannot be served because of it. */
  readonly paths: readonly string[];
  readonly isRepaired: boolean;
}

export interface CheckReport {
  readonly objects: number;
  readonly bytes: number;
  readonly findings: readonly Finding[];
  readonly repaired: number;
}

interface Row {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  readonly file_hash: string | null;
}

const PAGE = 1000;
/** At one time: each look at S3 takes a trip. */
const AT_ONCE = 8;
/** Where servers run meanwhile, a younger file may be about to get its row. */
const YOUNG_MS = 24 * 3600_000;

/** Compares rows and bytes of every storage. */
export async function check(init: CheckInit): Promise<CheckReport> {
  const scan = new Scan(init);
  await scan.rows();
  await scan.files();
  return scan.report();
}

class Scan {
  readonly #init: CheckInit;
  readonly #rate: RateLimit;
  readonly #findings: Finding[] = [];
  /** Storages that cannot be looked at. */
  readonly #ill = new Set<string>();
  #objects = 0;
  #bytes = 0;

  constructor(init: CheckInit) {
    this.#init = init;
    this.#rate = new RateLimit({ bytesPerSecond: () => init.bytesPerSecond });
    for (const storage of init.storages.inMode('Abandoned')) this.#leaveOut('given-up', storage, '-');
    for (const storage of init.storages.list()) {
      const health = storage.health();
      if (health.state === 'Unavailable') this.#leaveOut('unavailable', storage.name, health.reason);
    }
  }

  report(): CheckReport {
    const repaired = this.#findings.filter((finding) => finding.isRepaired).length;
    return { objects: this.#objects, bytes: this.#bytes, findings: this.#findings, repaired };
  }

  #leaveOut(kind: 'unavailable' | 'given-up' | 'interrupted', storage: string, reason: string): void {
    if (this.#ill.has(storage)) return;
    this.#ill.add(storage);
    this.#findings.push({ kind, storage, object: reason, paths: [], isRepaired: false });
  }

  /** Every row beside its bytes. */
  async rows(): Promise<void> {
    const { database, storages, onProgress } = this.#init;
    const counted = await database.query<{ n: number }>(`SELECT count(*) AS n FROM objects WHERE state = 'verified'`);
    const total = Number(counted[0]?.n ?? 0);
    await inParallel(AT_ONCE, this.#page(), async (row) => {
      const storage = storages.find(row.storage);
      if (storage !== undefined && !this.#ill.has(row.storage))
        await this.#guard(storage, async () => {
          const kind = await this.#examine(storage, row);
          if (kind !== undefined) await this.#lost(kind, row);
        });
      this.#objects++;
      this.#bytes += row.size;
      onProgress?.(this.#objects, total);
    });
  }

  async *#page(): AsyncGenerator<Row> {
    for (let after = 0; ; ) {
      const rows = await this.#init.database.query<Row>(
        `SELECT id, key, storage, name, size, file_hash FROM objects
         WHERE state = 'verified' AND id > ? ORDER BY id LIMIT ${PAGE}`,
        [after],
      );
      yield* rows;
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last.id;
    }
  }

  /** A storage that fails in the middle is left out from then on. */
  async #guard(storage: Storage, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StorageUnavailableError)) throw error;
      this.#leaveOut('interrupted', storage.name, error.reason);
    }
  }

  async #examine(storage: Storage, row: Row): Promise<Finding['kind'] | undefined> {
    const size = await storage.stat(row.name);
    if (size === undefined) return 'missing';
    if (size !== row.size) return 'wrong-size';
    if (!this.#init.contents || row.file_hash === null) return undefined;
    await this.#rate.take(row.size, NEVER);
    try {
      const hash = await hashOf(storage, row.name, row.size);
      return formatHash(sha256FromHex(hash)) === row.file_hash ? undefined : 'wrong-hash';
    } catch (error) {
      if (error instanceof ObjectMissingError) return 'missing';
      throw error;
    }
  }

  async #lost(kind: Finding['kind'], row: Row): Promise<void> {
    const { database, repair } = this.#init;
    const paths = await database.query<{ hash_part: string }>('SELECT hash_part FROM paths WHERE object_id = ?', [
      row.id,
    ]);
    const hashParts = paths.map((path) => path.hash_part);
    // Where servers run, they may have moved or replaced it just now.
    if (!(repair ? await takeAway(database, row) : await isStill(database, row))) return;
    this.#findings.push({ kind, storage: row.storage, object: row.key, paths: hashParts, isRepaired: repair });
  }

  /** Every file beside its row. */
  async files(): Promise<void> {
    for (const storage of this.#init.storages.list()) {
      if (this.#ill.has(storage.name)) continue;
      await this.#guard(storage, async () => {
        let page: StoredEntry[] = [];
        for await (const entry of storage.list()) {
          page.push(entry);
          if (page.length < PAGE) continue;
          await this.#filesOf(storage, page);
          page = [];
        }
        await this.#filesOf(storage, page);
      });
    }
  }

  async #filesOf(storage: Storage, page: readonly StoredEntry[]): Promise<void> {
    const { database, repair } = this.#init;
    const oldest = database.isShared ? Date.now() - YOUNG_MS : Infinity;
    const entries = page.filter((entry) => entry.modifiedAt < oldest);
    const known = new Set(
      await this.#knownNames(
        storage.name,
        entries.map((entry) => entry.name),
      ),
    );
    for (const { name } of entries) {
      if (known.has(name)) continue;
      if (repair) await storage.delete(name);
      this.#findings.push({ kind: 'no-row', storage: storage.name, object: name, paths: [], isRepaired: repair });
    }
  }

  /** Those that have a row, or are on their way: housekeeping removes what nobody goes on with. */
  async #knownNames(storage: string, names: readonly string[]): Promise<string[]> {
    if (names.length === 0) return [];
    const { database } = this.#init;
    const list = database.list(names);
    const isNamed = database.isOneOf('name');
    const rows = await database.query<{ name: string }>(
      `SELECT name FROM objects WHERE storage = ? AND ${isNamed}
       UNION SELECT name FROM intents WHERE storage = ? AND ${isNamed}
       UNION SELECT name FROM uploads WHERE state = 'open' AND storage = ? AND ${isNamed}
       UNION SELECT name FROM upload_parts WHERE ${isNamed}`,
      [storage, list, storage, list, storage, list, list],
    );
    return rows.map((row) => row.name);
  }
}

/** A check is ended by ending its process. */
const NEVER = new AbortController().signal;

const SAME_ROW = `id = ? AND storage = ? AND name = ? AND state = 'verified'`;

async function isStill(database: Database, { id, storage, name }: Row): Promise<boolean> {
  return (await database.query(`SELECT 1 FROM objects WHERE ${SAME_ROW}`, [id, storage, name])).length > 0;
}

/** Unpublishes what has no bytes. False: its row has changed since it was read, by a server that runs. */
async function takeAway(database: Database, { id, storage, name }: Row): Promise<boolean> {
  return database.write(async (sql) => {
    const rows = await sql.query(
      `UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL WHERE ${SAME_ROW} RETURNING id`,
      [id, storage, name],
    );
    if (rows.length > 0) await unpublish(database, sql, id);
    return rows.length > 0;
  });
}
