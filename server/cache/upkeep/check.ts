/**
 * The full scan behind `narwhal-server check`: every row beside its bytes, every file beside its row. It changes
 * nothing unless asked to repair, and never touches a storage that is not available.
 */

import type { Database } from '../../metadata/index.ts';
import { type Storage, StorageUnavailableError, type StoredEntry } from '../../storage/index.ts';
import type { Leases } from '../database/index.ts';
import { CacheError } from '../errors.ts';
import { inParallel, RateLimit } from '../flow/index.ts';
import type { Loss } from '../objects/index.ts';
import { type ObjectRow, objectsAfter } from '../objects/index.ts';
import { examine, type Lost } from '../paths/index.ts';
import type { Storages } from '../storages/index.ts';

/** What of a cache is looked at. */
export interface CheckedCache {
  readonly database: Database;
  readonly storages: Storages;
  readonly leases: Leases;
  readonly lost: Lost;
}

export interface CheckInit {
  readonly cache: CheckedCache;
  /** Also read every NAR and compare its SHA-256. */
  readonly contents: boolean;
  readonly bytesPerSecond: number | undefined;
  /** Give up what has no bytes, serve again what was lost and is there, remove files without rows. */
  readonly repair: boolean;
  /** Whether nobody writes meanwhile: else a young file may be about to get its row. */
  readonly isAlone: boolean;
  readonly signal: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface Finding {
  readonly kind: Loss | 'found' | 'no-row' | 'unavailable' | 'given-up' | 'interrupted';
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

const PAGE = 1000;
/** At one time: each look at S3 takes a trip. */
const AT_ONCE = 8;
/** Where servers run meanwhile, a younger file may be about to get its row. */
const YOUNG_MS = 24 * 3600_000;

/** Compares rows and bytes of every storage. @throws CacheError Conflict (another check runs), AbortError */
export async function check(init: CheckInit): Promise<CheckReport> {
  const lease = await init.cache.leases.acquire('check');
  if (lease === undefined)
    throw new CacheError('Conflict', 'this cache is being checked now; try again when it is done');
  try {
    const scan = new Scan({ ...init, signal: AbortSignal.any([init.signal, lease.signal]) });
    await scan.rows();
    await scan.files();
    return scan.report();
  } finally {
    await lease.release();
  }
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
    const { storages } = init.cache;
    for (const storage of storages.inMode('Abandoned')) this.#leaveOut('given-up', storage, '-');
    for (const storage of storages.list()) {
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
    const { cache, onProgress, signal } = this.#init;
    const { database, storages } = cache;
    const counted = await database.query<{ n: number }>(
      `SELECT count(*) AS n FROM objects WHERE state <> 'tombstoned'`,
    );
    const total = Number(counted[0]?.n ?? 0);
    await inParallel(AT_ONCE, objectsAfter(database, 0), async (row) => {
      signal.throwIfAborted();
      const storage = storages.find(row.storage);
      if (storage === undefined) await this.#withoutStorage(row);
      else if (!this.#ill.has(row.storage)) await this.#guard(storage, () => this.#look(storage, row));
      this.#objects++;
      this.#bytes += row.size;
      onProgress?.(this.#objects, total);
    });
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

  async #look(storage: Storage, row: ObjectRow): Promise<void> {
    const { contents, signal } = this.#init;
    const pace = (bytes: number) => this.#rate.take(bytes, signal);
    const isLost = row.state === 'lost';
    // What is to be served again must be right, not only long enough.
    const loss = await examine(storage, row, contents || isLost, { pace });
    if (loss !== undefined) await this.#lost(loss, row);
    else if (isLost) await this.#found(row);
  }

  /** A lost object may outlive its storage, whose bytes nobody has any more. */
  async #withoutStorage(row: ObjectRow): Promise<void> {
    if (row.state === 'lost' && !this.#ill.has(row.storage)) await this.#lost('missing', row);
  }

  async #lost(kind: Loss, row: ObjectRow): Promise<void> {
    const { cache, contents, repair } = this.#init;
    const paths = await this.#pathsOf(row);
    // Where servers run, they may have moved or replaced it just now.
    if (!(await this.#isStill(row))) return;
    // What is given up does not come back: a disk that has just gone is no reason.
    if (repair && cache.storages.find(row.storage) !== undefined) await cache.storages.confirm(row.storage);
    const mayGo = repair && (row.state === 'lost' || (await cache.lost.report(row, contents)));
    const isRepaired = mayGo && (await cache.lost.giveUp(row));
    this.#findings.push({ kind, storage: row.storage, object: row.key, paths, isRepaired });
  }

  async #found(row: ObjectRow): Promise<void> {
    const { cache, repair } = this.#init;
    const paths = await this.#pathsOf(row);
    const isRepaired = repair && (await cache.lost.restore(row));
    this.#findings.push({ kind: 'found', storage: row.storage, object: row.key, paths, isRepaired });
  }

  async #pathsOf({ id }: ObjectRow): Promise<string[]> {
    const { database } = this.#init.cache;
    const rows = await database.query<{ hash_part: string }>('SELECT hash_part FROM paths WHERE object_id = ?', [id]);
    return rows.map((row) => row.hash_part);
  }

  async #isStill({ id, storage, name, state }: ObjectRow): Promise<boolean> {
    const rows = await this.#init.cache.database.query(
      'SELECT 1 FROM objects WHERE id = ? AND storage = ? AND name = ? AND state = ?',
      [id, storage, name, state],
    );
    return rows.length > 0;
  }

  /** Every file beside its row. */
  async files(): Promise<void> {
    const { cache, signal } = this.#init;
    for (const storage of cache.storages.list()) {
      if (this.#ill.has(storage.name)) continue;
      await this.#guard(storage, async () => {
        let page: StoredEntry[] = [];
        for await (const entry of storage.list()) {
          signal.throwIfAborted();
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
    const { isAlone, repair } = this.#init;
    const oldest = isAlone ? Infinity : Date.now() - YOUNG_MS;
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
    const { database } = this.#init.cache;
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
