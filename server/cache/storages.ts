/** The storages of one cache: opened, watched while ill, and asked by the strategy where a new object goes. */
import path from 'node:path';
import type { Logger } from 'pino';
import type { Database } from '../metadata/index.ts';
import {
  type Candidate,
  hasRoom,
  LocalStorage,
  place,
  type Storage,
  StorageFullError,
  type StrategyName,
} from '../storage/index.ts';
import { CacheError } from './errors.ts';
import type { Settings } from './settings.ts';

/** One storage as the manifest describes it, paths resolved. */
export interface StoragePlan {
  readonly name: string;
  readonly root: string;
  readonly mode: 'ReadWrite' | 'ReadOnly';
  readonly weight: number;
  readonly capacityBytes: number | undefined;
}

export interface StoragesInit {
  readonly database: Database;
  readonly cacheId: string;
  readonly settings: Settings;
  readonly logger: Logger;
  /** Brings a storage in line with the rows, each time before it becomes ready. */
  readonly settle: (storage: LocalStorage) => Promise<void>;
}

interface Entry {
  plan: StoragePlan;
  readonly storage: LocalStorage;
  usedBytes: number;
  /** Declared bytes of writes that are under way. */
  reservedBytes: number;
  fullUntil: number;
}

/** A place for `size` bytes, counted as used until released. */
export interface Placement {
  readonly storage: Storage;
  release(): void;
}

export class Storages {
  readonly #init: StoragesInit;
  readonly #entries = new Map<string, Entry>();
  #order: string[] = [];
  #strategy: StrategyName = 'InOrder';
  #turn = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(init: StoragesInit) {
    this.#init = init;
  }

  /** Opens what is new, takes over order and modes. Call again after every change of the manifest. */
  async apply(plans: readonly StoragePlan[], strategy: StrategyName): Promise<void> {
    this.#strategy = strategy;
    for (const plan of plans) {
      const entry = this.#entries.get(plan.name);
      if (entry === undefined) await this.#add(plan);
      else entry.plan = plan;
      const { database } = this.#init;
      await database.write((sql) => sql.query('UPDATE storages SET mode = ? WHERE name = ?', [plan.mode, plan.name]));
    }
    this.#order = plans.map((plan) => plan.name);
    this.#watch();
  }

  /**
   * Refuses plans that would lose data: a storage may only leave the manifest when it holds nothing.
   * @throws CacheError Conflict
   */
  async check(plans: readonly StoragePlan[]): Promise<void> {
    const { database } = this.#init;
    const names = new Set(plans.map((plan) => plan.name));
    for (const { name } of await database.query<{ name: string }>('SELECT name FROM storages')) {
      if (names.has(name)) continue;
      const rows = await database.query<{ objects: number }>(
        'SELECT count(*) AS objects FROM objects WHERE storage = ?',
        [name],
      );
      const objects = Number(rows[0]?.objects ?? 0);
      if (objects > 0)
        throw new CacheError(
          'Conflict',
          `storage ${name} holds ${objects} objects and cannot be removed; put it back into the manifest`,
        );
      await database.write((sql) => sql.query('DELETE FROM storages WHERE name = ?', [name]));
      this.#entries.delete(name);
    }
  }

  async #add(plan: StoragePlan): Promise<void> {
    const { database, cacheId, settings } = this.#init;
    const storage = new LocalStorage({
      name: plan.name,
      root: plan.root,
      cacheId,
      reserveBytes: settings.diskReserveBytes,
    });
    const known = await database.query('SELECT name FROM storages WHERE name = ?', [plan.name]);
    const health = await storage.open(known.length > 0, () => this.#init.settle(storage));
    this.#entries.set(plan.name, { plan, storage, usedBytes: 0, reservedBytes: 0, fullUntil: 0 });
    if (known.length === 0) {
      if (health.state === 'Unavailable') throw new CacheError('Invalid', `storage ${plan.name}: ${health.reason}`);
      await database.write((sql) =>
        sql.query('INSERT INTO storages (name, kind, mode, location) VALUES (?, ?, ?, ?)', [
          plan.name,
          'local',
          plan.mode,
          path.resolve(plan.root),
        ]),
      );
    }
    const used = await database.query<{ bytes: number | null }>(
      'SELECT SUM(size) AS bytes FROM objects WHERE storage = ?',
      [plan.name],
    );
    this.count(plan.name, Number(used[0]?.bytes ?? 0));
    if (health.state !== 'Ready')
      this.#init.logger.error({ storage: plan.name, reason: health.reason }, 'storage is unavailable');
  }

  /** In the manifest's order. */
  list(): readonly Storage[] {
    return this.#order.flatMap((name) => this.#entries.get(name)?.storage ?? []);
  }

  get settings(): Settings {
    return this.#init.settings;
  }

  /** The storage called `name`; rows may name one that no manifest has any more. */
  find(name: string): Storage | undefined {
    return this.#entries.get(name)?.storage;
  }

  /** Like `find`, for bytes that a row promises. @throws CacheError Unavailable */
  get(name: string): Storage {
    const storage = this.find(name);
    if (storage === undefined) throw new CacheError('Unavailable', `storage ${name} is not configured`);
    return storage;
  }

  /** Adds to what the strategy believes is used there. */
  count(name: string, bytes: number): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.usedBytes += bytes;
  }

  /** Remembers that a write found the medium full. */
  reportFull(name: string): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.fullUntil = Date.now() + this.#init.settings.fullRetryMs;
  }

  /**
   * A storage with room for `size` bytes by the strategy.
   * @param not names that were tried already
   * @throws CacheError NoSpace, Unavailable
   */
  async place(size: number, not: ReadonlySet<string> = new Set()): Promise<Placement> {
    const writable = this.#order
      .flatMap((name) => this.#entries.get(name) ?? [])
      .filter((entry) => entry.plan.mode === 'ReadWrite');
    if (writable.length === 0) throw new CacheError('NoSpace', 'every storage of this cache is read-only');
    const ready = writable.filter((entry) => entry.storage.health().state === 'Ready');
    if (ready.length === 0) throw new CacheError('Unavailable', 'no writable storage is available');
    const open = ready.filter((entry) => !not.has(entry.plan.name) && entry.fullUntil <= Date.now());
    const candidates = await Promise.all(open.map(candidateOf));
    const chosen = place(this.#strategy, candidates, size, this.#turn++)[0];
    const entry = chosen && this.#entries.get(chosen.name);
    if (entry === undefined)
      throw new CacheError('NoSpace', `no storage of this cache has room for ${size} more bytes`);
    return reserve(entry, size);
  }

  /** Room for `size` more bytes in the storage that an upload has begun in. @throws CacheError NoSpace, Unavailable */
  async hold(name: string, size: number): Promise<Placement> {
    const entry = this.#entries.get(name);
    const health = entry?.storage.health();
    if (entry === undefined || health?.state !== 'Ready')
      throw new CacheError('Unavailable', `storage ${name} is not available`);
    if (!hasRoom(await candidateOf(entry), size)) {
      this.reportFull(name);
      throw new CacheError('NoSpace', `storage ${name} has no room for ${size} more bytes`);
    }
    return reserve(entry, size);
  }

  /** What people and metrics want to know of each storage. */
  async report(): Promise<
    { name: string; mode: string; state: string; reason?: string; usedBytes: number; freeBytes?: number }[]
  > {
    return Promise.all(
      this.#order
        .flatMap((name) => this.#entries.get(name) ?? [])
        .map(async ({ plan, storage, usedBytes }) => {
          const health = storage.health();
          const base = { name: plan.name, mode: plan.mode, state: health.state, usedBytes };
          if (health.state === 'Unavailable') return { ...base, reason: health.reason };
          const { freeBytes } = await storage.usage().catch(() => ({ freeBytes: undefined }));
          return freeBytes === undefined ? base : { ...base, freeBytes };
        }),
    );
  }

  async close(): Promise<void> {
    clearTimeout(this.#retry);
    await Promise.all([...this.#entries.values()].map((entry) => entry.storage.close()));
  }

  /** Looks at ill storages until they are back: a disk mounted later needs no restart. */
  #watch(): void {
    clearTimeout(this.#retry);
    const ill = [...this.#entries.values()].filter((entry) => entry.storage.health().state !== 'Ready');
    if (ill.length === 0) return;
    this.#retry = setTimeout(async () => {
      for (const { storage } of ill) {
        const health = await storage.open(true, () => this.#init.settle(storage));
        if (health.state === 'Ready') this.#init.logger.info({ storage: storage.name }, 'storage is available again');
      }
      this.#watch();
    }, this.#init.settings.storageRetryMs);
    this.#retry.unref();
  }
}

function reserve(entry: Entry, size: number): Placement {
  entry.reservedBytes += size;
  let held = true;
  return {
    storage: entry.storage,
    release() {
      if (held) entry.reservedBytes -= size;
      held = false;
    },
  };
}

/** An ill medium that cannot even be asked counts as full. */
async function candidateOf(entry: Entry): Promise<Candidate> {
  const usage = await entry.storage.usage().catch(() => ({ freeBytes: 0 }));
  return {
    name: entry.plan.name,
    usedBytes: entry.usedBytes + entry.reservedBytes,
    capacityBytes: entry.plan.capacityBytes,
    freeBytes: usage.freeBytes === undefined ? undefined : Math.max(0, usage.freeBytes - entry.reservedBytes),
    weight: entry.plan.weight,
  };
}

/** The two errors of a full medium look alike to a client. */
export function isFull(error: unknown): error is StorageFullError {
  return error instanceof StorageFullError;
}
