/** The storages of one cache: opened, watched while ill, and asked by the strategy where a new object goes. */
import type { Database } from '../../metadata/index.ts';
import {
  type Candidate,
  hasRoom,
  place,
  type Storage,
  type StorageHealth,
  StorageUnavailableError,
  type StrategyName,
} from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import type { Settings } from '../settings.ts';
import {
  type Entry,
  GIVEN_UP,
  isAbandoned,
  leftOut,
  newEntry,
  type Placement,
  reserve,
  roomOf,
  type StorageFacts,
} from './entry.ts';
import { mustFitQuota, type QuotaUse, quotaUse } from './quota.ts';
import { isEmpty, remainsOf, wordsOf } from './remains.ts';
import {
  configureStorage,
  createStorage,
  placeOfResolved,
  type ResolvedStorage,
  type StorageMode,
  type StorageParts,
} from './spec.ts';

export interface StoragesInit extends StorageParts {
  readonly database: Database;
  /** Brings a storage in line with the rows, before it becomes ready for the first time. */
  readonly settle: (storage: Storage) => Promise<void>;
}

export { isFull, type Placement, type StorageFacts } from './entry.ts';

export class Storages {
  readonly #init: StoragesInit;
  /** Bytes of uploads that are being completed. */
  #joining = 0;
  readonly #entries = new Map<string, Entry>();
  #order: string[] = [];
  #strategy: StrategyName = 'InOrder';
  #turn = 0;
  #retry: NodeJS.Timeout | undefined;
  readonly #looking = new Set<string>();
  #recountAt = 0;
  #closed = false;

  constructor(init: StoragesInit) {
    this.#init = init;
  }

  /**
   * Gets ready for the storages of a manifest, at start and after each change of it: refuses what would lose data and
   * opens what is new. Nothing in use changes before the function that it resolves with is called.
   * @throws CacheError Conflict, Invalid
   */
  async prepare(specs: readonly ResolvedStorage[], strategy: StrategyName): Promise<() => Promise<void>> {
    const names = new Set(specs.map((spec) => spec.name));
    const gone = (await this.#init.database.query<{ name: string }>('SELECT name FROM storages'))
      .map((row) => row.name)
      .filter((name) => !names.has(name));
    for (const name of gone) {
      if ((this.#entries.get(name)?.writes ?? 0) > 0)
        throw new CacheError(
          'Conflict',
          `storage ${name} is still being written to; put it back and try again in a moment`,
        );
      const remains = await remainsOf(this.#init.database, name);
      if (!isEmpty(remains))
        throw new CacheError(
          'Conflict',
          `storage ${name} holds ${wordsOf(remains)} and cannot be removed; put it back with "mode: Drain" until it is drained, or with "mode: Abandoned" to give its data up`,
        );
    }
    const fresh: ResolvedStorage[] = [];
    for (const spec of specs) {
      const entry = this.#entries.get(spec.name);
      const isGivenUp = spec.mode === 'Abandoned';
      if (entry === undefined || !this.#order.includes(spec.name) || (isAbandoned(entry) && !isGivenUp)) {
        // What is under way there looks like a leftover.
        if (entry !== undefined && entry.writes > 0)
          throw new CacheError('Conflict', `storage ${spec.name} is still being written to; try again in a moment`);
        fresh.push(spec);
      } else if (placeOfResolved(spec) !== entry.storage.place && !isGivenUp)
        throw new CacheError(
          'Conflict',
          `storage ${spec.name} lies in ${entry.storage.place}; to move it, stop the server, move all of it, start again`,
        );
    }
    // Side by side: one that hangs must not keep the others waiting for its turn to fail.
    const opened = await Promise.allSettled(fresh.map((spec) => this.#open(spec)));
    const added = opened.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
    const failed = opened.find((it) => it.status === 'rejected');
    if (failed !== undefined) {
      await Promise.all(added.map((entry) => entry.storage.close()));
      throw failed.reason;
    }
    return () => this.#use(specs, strategy, added, gone);
  }

  async #use(
    specs: readonly ResolvedStorage[],
    strategy: StrategyName,
    added: readonly Entry[],
    gone: readonly string[],
  ): Promise<void> {
    const { database } = this.#init;
    for (const entry of added) this.#entries.set(entry.spec.name, entry);
    this.#strategy = strategy;
    this.#order = specs.map((spec) => spec.name);
    for (const spec of specs) {
      const entry = this.#entries.get(spec.name);
      if (entry === undefined) continue;
      // Given up: what runs there may end, nothing new begins.
      if (spec.mode === 'Abandoned' && !isAbandoned(entry)) entry.storage.close().catch(() => {});
      entry.spec = spec;
      entry.fullUntil = 0;
      if (!isAbandoned(entry)) configureStorage(entry.storage, spec);
    }
    await database.write(async (sql) => {
      for (const spec of specs)
        await sql.query('UPDATE storages SET mode = ?, location = ? WHERE name = ?', [
          spec.mode,
          placeOfResolved(spec),
          spec.name,
        ]);
    });
    for (const name of gone) await this.#forget(name);
    this.#watch();
  }

  /** Drops the row of an empty storage, and the uploads that had begun in it. */
  async #forget(name: string): Promise<void> {
    const { database, logger } = this.#init;
    // A write that began before the manifest changed may still end there: then its object keeps the storage known.
    if ((this.#entries.get(name)?.writes ?? 0) > 0 || (await remainsOf(database, name)).objects > 0) {
      logger.error({ storage: name }, 'storage got an object while it was removed; put it back into the manifest');
      return;
    }
    await database.write(async (sql) => {
      await sql.query(`UPDATE uploads SET state = 'aborted' WHERE storage = ? AND state = 'open'`, [name]);
      await sql.query('DELETE FROM storages WHERE name = ?', [name]);
    });
    await this.#entries.get(name)?.storage.close();
  }

  async #open(spec: ResolvedStorage): Promise<Entry> {
    const kind = await this.#knownKind(spec.name);
    if (kind !== undefined && kind !== spec.at.kind)
      throw new CacheError(
        'Conflict',
        `storage ${spec.name} is of the kind ${kind}; add one of the kind ${spec.at.kind} under another name and drain this one`,
      );
    const storage = await createStorage(spec, this.#init);
    const entry = newEntry(spec, storage, kind !== undefined);
    if (spec.mode === 'Abandoned') return entry;
    const health = await this.#tryOpen(entry);
    if (health.state === 'Unavailable' && !entry.known && !spec.isAwaited) {
      await storage.close();
      throw new CacheError('Invalid', `storage ${spec.name}: ${health.reason}`);
    }
    if (health.state === 'Unavailable') this.#reportIll(spec.name, health.reason);
    entry.usedBytes = await this.#usedBytes(spec.name);
    return entry;
  }

  /** The kind of a storage of this name that the database knows. */
  async #knownKind(name: string): Promise<string | undefined> {
    const rows = await this.#init.database.query<{ kind: string }>('SELECT kind FROM storages WHERE name = ?', [name]);
    return rows[0]?.kind;
  }

  /** Opens a storage; what must be done once is done before anything may use it. */
  async #tryOpen(entry: Entry): Promise<StorageHealth> {
    const { storage, spec } = entry;
    entry.known ||= (await this.#knownKind(spec.name)) !== undefined;
    const health = await storage.open(entry.known, async () => {
      if (!entry.settled) await this.#init.settle(storage);
      if (entry.known) return;
      await this.#init.database.write((sql) =>
        sql.query(
          'INSERT INTO storages (name, kind, mode, location) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING',
          [spec.name, spec.at.kind, spec.mode, storage.place],
        ),
      );
      entry.known = true;
    });
    if (health.state === 'Ready') entry.settled = true;
    return health;
  }

  async #usedBytes(storage: string): Promise<number> {
    const rows = await this.#init.database.query<{ bytes: number | null }>(
      'SELECT SUM(size) AS bytes FROM objects WHERE storage = ?',
      [storage],
    );
    return Number(rows[0]?.bytes ?? 0);
  }

  /** Where other servers write too, what they wrote counts as well. */
  async recount(): Promise<void> {
    const start = performance.now();
    // A sum over a hundred million rows takes seconds: it may take a fiftieth of the time, no more.
    if (start < this.#recountAt) return;
    for (const [name, entry] of this.#entries) {
      const before = entry.usedBytes;
      const rows = await this.#usedBytes(name);
      // What was counted here meanwhile may be in the sum or not; the next time tells.
      if (entry.usedBytes === before) entry.usedBytes = rows;
    }
    this.#recountAt = performance.now() + 50 * (performance.now() - start);
  }

  #reportIll(storage: string, reason: string): void {
    this.#init.logger.error({ storage, reason }, 'storage is unavailable');
  }

  /** Those that may be used, in the manifest's order. */
  list(): readonly Storage[] {
    return this.#order.flatMap((name) => this.find(name) ?? []);
  }

  /** Names of the storages of one mode. */
  inMode(mode: StorageMode): string[] {
    return this.#order.filter((name) => this.#entries.get(name)?.spec.mode === mode);
  }

  /** What the manifest says now; undefined: it has no such storage. */
  modeOf(name: string): StorageMode | undefined {
    return this.#order.includes(name) ? this.#entries.get(name)?.spec.mode : undefined;
  }

  get settings(): Settings {
    return this.#init.settings;
  }

  /** The storage called `name`; rows may name one that no manifest has any more. One that is given up is not touched. */
  find(name: string): Storage | undefined {
    const entry = this.#entries.get(name);
    return entry === undefined || isAbandoned(entry) ? undefined : entry.storage;
  }

  /** Like `find`, for bytes that a row promises. @throws CacheError Unavailable */
  get(name: string): Storage {
    const storage = this.find(name);
    if (storage === undefined) throw new CacheError('Unavailable', `storage ${name} is not configured`);
    return storage;
  }

  /** Whether it still counts: what was removed or given up takes in nothing more. */
  has(name: string): boolean {
    return this.#order.includes(name) && this.find(name) !== undefined;
  }

  /** Adds to what the strategy believes is used there. */
  count(name: string, bytes: number): void {
    const entry = this.#entries.get(name);
    if (entry !== undefined) entry.usedBytes += bytes;
  }

  /** Looks at once at a storage that a write could not use, instead of at the next round. */
  async suspect(name: string, isSure = false): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined || isAbandoned(entry) || entry.storage.health().state !== 'Ready') return;
    const health = await entry.storage.probe(isSure);
    if (health.state !== 'Ready') this.#reportIll(name, health.reason);
  }

  /** Reads the marker of a storage anew. @throws StorageUnavailableError, CacheError Unavailable */
  async confirm(name: string): Promise<void> {
    await this.suspect(name, true);
    const health = this.get(name).health();
    if (health.state !== 'Ready') throw new StorageUnavailableError(name, health.reason);
  }

  /** How much of what the cache may hold is used. */
  get quota(): QuotaUse {
    return quotaUse(this.#entries.values(), this.#joining, this.#init.settings);
  }

  /** Parts that lie here, uncounted, become an object of `size` bytes. The function ends it. @throws CacheError NoSpace */
  join(size: number): () => void {
    this.mustFit(size);
    this.#joining += size;
    return () => {
      this.#joining -= size;
      size = 0;
    };
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
    this.mustFit(size);
    return this.#place(size, not, () => this.mustFit(size));
  }

  /** The same for bytes that are in the cache already. @throws CacheError NoSpace, Unavailable */
  placeMoved(size: number, not: ReadonlySet<string>): Promise<Placement> {
    return this.#place(size, not, () => {});
  }

  /** Whether the cache may hold `size` more bytes now. @throws CacheError NoSpace */
  mustFit(size: number): void {
    mustFitQuota(this.quota, size);
  }

  /** @param look in the same tick as the room is reserved: others may have got theirs meanwhile */
  async #place(size: number, not: ReadonlySet<string>, look: () => void): Promise<Placement> {
    const writable = this.#order
      .flatMap((name) => this.#entries.get(name) ?? [])
      .filter((entry) => entry.spec.mode === 'ReadWrite');
    if (writable.length === 0)
      throw new CacheError('NoSpace', 'every storage of this cache is read-only, drained or given up');
    const ready = writable.filter((entry) => entry.storage.health().state === 'Ready');
    if (ready.length === 0) throw new CacheError('Unavailable', 'no writable storage is available');
    const untried = ready.filter((entry) => !not.has(entry.spec.name));
    const out = await Promise.all(untried.map(leftOut));
    const open = untried.filter((_, index) => !out[index]);
    const candidates = await Promise.all(open.map((candidate) => this.#candidateOf(candidate)));
    const chosen = place(this.#strategy, candidates, size, this.#turn++)[0];
    const entry = chosen && this.#entries.get(chosen.name);
    if (entry === undefined && ready.every((it) => it.storage.health().state !== 'Ready'))
      throw new CacheError('Unavailable', 'no writable storage is available');
    if (entry === undefined)
      throw new CacheError('NoSpace', `no storage of this cache has room for ${size} more bytes`);
    look();
    return reserve(entry, size);
  }

  /** Room for `size` more bytes in the storage that an upload has begun in. @throws CacheError NoSpace, Unavailable */
  async hold(name: string, size: number): Promise<Placement> {
    this.mustFit(size);
    const entry = this.#entries.get(name);
    const health = entry?.storage.health();
    if (entry === undefined || !this.has(name) || health?.state !== 'Ready')
      throw new CacheError('Unavailable', `storage ${name} is not available`);
    if (!hasRoom(await this.#candidateOf(entry), size)) {
      this.reportFull(name);
      throw new CacheError('NoSpace', `storage ${name} has no room for ${size} more bytes`);
    }
    this.mustFit(size);
    return reserve(entry, size);
  }

  /** Keeps a storage known while bytes that are there already become an object. The function ends it. */
  use(name: string): () => void {
    const entry = this.#entries.get(name);
    return entry === undefined ? () => {} : reserve(entry, 0).release;
  }

  /** What people and metrics want to know of each storage. */
  async report(): Promise<StorageFacts[]> {
    return Promise.all(
      this.#order
        .flatMap((name) => this.#entries.get(name) ?? [])
        .map(async (entry) => {
          const { spec, storage, usedBytes, writes } = entry;
          const health: StorageHealth = isAbandoned(entry) ? GIVEN_UP : storage.health();
          const base = { name: spec.name, mode: spec.mode, state: health.state, usedBytes, writes };
          if (health.state === 'Unavailable') return { ...base, ...roomOf(entry, undefined), reason: health.reason };
          return { ...base, ...roomOf(entry, await storage.usage().catch(() => undefined)) };
        }),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#retry);
    await Promise.all([...this.#entries.values()].map((entry) => entry.storage.close()));
  }

  /** Looks at all storages now and then: a disk that goes is left alone, one that comes back needs no restart. */
  #watch(): void {
    clearInterval(this.#retry);
    if (this.#closed) return;
    this.#retry = setInterval(() => {
      // Each by itself: one that does not answer keeps no other from being looked at.
      for (const name of this.#order) {
        if (this.#looking.has(name)) continue;
        this.#looking.add(name);
        this.#look(name)
          .catch((error: unknown) =>
            this.#init.logger.warn({ err: error, storage: name }, 'a look at a storage failed'),
          )
          .finally(() => this.#looking.delete(name));
      }
    }, this.#init.settings.storageRetryMs);
    this.#retry.unref();
  }

  async #look(name: string): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined || isAbandoned(entry)) return;
    if (entry.storage.health().state === 'Ready') return this.suspect(name);
    const health = await this.#tryOpen(entry);
    if (health.state !== 'Ready' || this.#closed) return;
    this.#init.logger.info({ storage: name }, 'storage is available again');
  }

  /** What the strategy may know of a storage. One that cannot even be asked counts as full, and is looked at. */
  async #candidateOf(entry: Entry): Promise<Candidate> {
    const { spec, storage, reservedBytes } = entry;
    const usage = await storage.usage().catch(async () => {
      await this.suspect(spec.name);
      return { freeBytes: 0, totalBytes: undefined };
    });
    entry.totalBytes = usage.totalBytes;
    return {
      name: spec.name,
      usedBytes: entry.usedBytes + reservedBytes,
      capacityBytes: spec.capacityBytes,
      freeBytes: usage.freeBytes === undefined ? undefined : Math.max(0, usage.freeBytes - reservedBytes),
      weight: spec.weight,
    };
  }
}
