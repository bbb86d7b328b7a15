/**
 * One cache: it owns its database, its storages and its keys. Everything in its folder is its own, so that a cache is
 * deleted by deleting a folder.
 */
import type { Logger } from 'pino';
import type { StorageStatus } from '../../crds/index.ts';
import type { Database } from '../metadata/index.ts';
import { type ByteBudget, LocalStorage, type Storage } from '../storage/index.ts';
import type { Tokens } from './access/index.ts';
import { Blocks } from './blocks/index.ts';
import { Closures } from './closures/index.ts';
import { Credentials } from './credentials.ts';
import { cacheId, Leases, type OpenDatabase, openDatabase } from './database/index.ts';
import { Visits, within } from './flow/index.ts';
import { Listing } from './listing/index.ts';
import type { CacheMetrics } from './metrics.ts';
import { type Mover, openMoving, reportStorages, type StorageWork } from './moving/index.ts';
import { type Intents, type Objects, openObjects, type Unproven, type Unsynced } from './objects/index.ts';
import { type Lost, type NewPath, openPaths, type Paths, type Realisations } from './paths/index.ts';
import { Pins } from './pins/index.ts';
import { Nars, Uploads } from './push/index.ts';
import type { ResolvedCache } from './resolve.ts';
import { type Deleted, type Deletion, deletePath, type Explained, explain, Retention } from './retention/index.ts';
import type { Settings } from './settings.ts';
import { type Keys, registerKey } from './signing/index.ts';
import { isTight, type Storages } from './storages/index.ts';
import { Housekeeping, removeLeftovers, Scrub } from './upkeep/index.ts';
import { Uses } from './use/index.ts';
import type { Verifier } from './verify/index.ts';

export interface BinaryCacheInit {
  readonly resolved: ResolvedCache;
  /** `<data>/<cache>` */
  readonly folder: string;
  /** Host of the API URL, without a port. */
  readonly host: string | undefined;
  readonly renameHost: boolean;
  /** Version of this server; a database may need a later one. */
  readonly version: string;
  readonly verifier: Verifier;
  readonly logger: Logger;
  readonly metrics: CacheMetrics;
  /** Memory for bytes on their way to S3. */
  readonly budget: ByteBudget;
  /** Only to look: nothing is removed and nothing runs in the background. */
  readonly inspecting: boolean;
}

/** What a cache is made of, once its database is open. */
interface Opened {
  readonly database: OpenDatabase;
  readonly id: string;
  readonly credentials: Credentials;
}

export class BinaryCache {
  readonly name: string;
  readonly folder: string;
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly paths: Paths;
  readonly nars: Nars;
  readonly realisations: Realisations;
  readonly uploads: Uploads;
  readonly pins: Pins;
  readonly intents: Intents;
  readonly leases: Leases;
  readonly closures: Closures;
  readonly uses: Uses;
  readonly blocks: Blocks;
  readonly retention: Retention;
  readonly listing: Listing;
  readonly mover: Mover;
  readonly lost: Lost;
  readonly scrub: Scrub;
  readonly #init: BinaryCacheInit;
  readonly #logger: Logger;
  readonly #opened: OpenDatabase;
  readonly #work: StorageWork;
  readonly #housekeeping: Housekeeping;
  readonly #unsynced: Unsynced;
  readonly #unproven: Unproven;
  /** A copy that all rooms look at, so that a changed manifest reaches them. */
  readonly #settings: Settings;
  readonly #visits = new Visits();
  readonly #stopping = new AbortController();
  #resolved: ResolvedCache;
  #credentials: Credentials;

  private constructor(init: BinaryCacheInit, opened: Opened) {
    const { resolved, verifier, budget, metrics } = init;
    const { name } = resolved;
    const { database } = opened.database;
    const logger = init.logger.child({ cache: name });
    this.name = name;
    this.folder = init.folder;
    this.database = database;
    this.#init = init;
    this.#logger = logger;
    this.#opened = opened.database;
    this.#settings = { ...resolved.settings };
    this.#resolved = resolved;
    this.#credentials = opened.credentials;

    this.leases = new Leases({ database, logger });
    const shared = { database, logger, verifier, leases: this.leases, settings: this.#settings, keys: () => this.keys };
    const objects = openObjects({
      ...{ ...shared, cache: name, cacheId: opened.id, isShared: database.isShared, budget, metrics },
      settle: (storage) => this.#settle(storage),
      isLost: (object) => this.lost.report(object),
    });
    this.closures = new Closures(shared);
    this.uses = new Uses(shared);
    this.blocks = new Blocks(database);
    const paths = openPaths({
      ...{ ...shared, ...objects, closures: this.closures, uses: this.uses },
      maxNarInfoBytes: () => this.#resolved.limits.maxNarInfoBytes,
    });
    const pushing = {
      ...{ ...shared, ...objects, ...paths, uses: this.uses, blocks: this.blocks },
      onPublished: (path: NewPath) => this.#published(path),
    };
    const push = { nars: new Nars(pushing), uploads: new Uploads(pushing) };
    this.pins = new Pins({ ...shared, revive: (hashParts) => this.paths.revive(hashParts) });
    const moving = openMoving({
      ...{ ...shared, ...objects, ...paths, ...push },
      onMoved: (storage, bytes) => metrics.moved(name, storage, bytes),
    });
    const all = {
      ...{ ...shared, ...objects, ...paths, ...push, ...moving },
      ...{ pins: this.pins, closures: this.closures, uses: this.uses },
    };
    this.storages = all.storages;
    this.#unsynced = all.unsynced;
    this.#unproven = all.unproven;
    this.intents = all.intents;
    this.objects = all.objects;
    this.paths = all.paths;
    this.lost = all.lost;
    this.realisations = all.realisations;
    this.nars = all.nars;
    this.uploads = all.uploads;
    this.mover = all.mover;
    this.#work = all.work;
    this.scrub = new Scrub(all);
    this.retention = new Retention({
      ...{ ...all, pinned: () => this.pins.pinnedHashParts(), isAlone: init.inspecting && !database.isShared },
      isTight: () => isTight(this.storages.quota),
      onEnded: (run) => metrics.collected(name, run),
    });
    this.listing = new Listing(all);
    this.#housekeeping = new Housekeeping({ ...all, retention: this.retention });
  }

  /**
   * Opens a cache, making its folder, id and keys where they are new and the database is not shared.
   * @throws FolderLockedError, DatabaseError, NewerDatabaseError, CacheError
   */
  static async open(init: BinaryCacheInit): Promise<BinaryCache> {
    const { resolved, folder, host, renameHost } = init;
    const { name, database: target, settings } = resolved;
    const opened = await openDatabase({ ...init, name, target, settings });
    let cache: BinaryCache | undefined;
    try {
      const { database } = opened;
      const id = await cacheId(database);
      const logger = init.logger.child({ cache: name });
      const credentials = await Credentials.load({ folder, host, renameHost, database, logger }, resolved);
      cache = new BinaryCache(init, { database: opened, id, credentials });
      if (!init.inspecting) await cache.#unproven.load();
      const useStorages = await cache.storages.prepare(resolved.storages, resolved.strategy);
      await useStorages();
      if (!init.inspecting) await cache.intents.inherit();
      await cache.uploads.resume();
      if (!init.inspecting) await credentials.forgetOthers();
      // Before the first request: a name of the manifest is taken.
      if (!init.inspecting) await cache.pins.use(resolved.pins);
      cache.#start();
      return cache;
    } catch (error) {
      await cache?.storages.close();
      await opened.close();
      throw error;
    }
  }

  #start(): void {
    if (this.keys.lost !== undefined) this.#logger.error(`pushes are refused: ${this.keys.lost}`);
    if (this.#init.inspecting) return;
    this.objects.collect();
    this.#housekeeping.start();
    this.closures.wake();
    this.uses.start();
    this.#work.start();
    this.scrub.start();
    this.paths.load(this.#stopping.signal).catch((error: unknown) => {
      if (this.#stopping.signal.aborted) return;
      this.#logger.error({ err: error }, 'the set of paths could not be loaded');
    });
  }

  async #settle(storage: Storage): Promise<void> {
    const { database } = this;
    if (this.#init.inspecting || !(storage instanceof LocalStorage)) return;
    await this.#unproven.prove(storage);
    // Where other servers write too, what they are about to publish looks like a leftover.
    if (!database.isShared) await removeLeftovers({ database, logger: this.#logger }, storage);
  }

  #published({ hashPart, name, narSize }: NewPath): void {
    this.#init.metrics.published(this.name);
    this.#logger.info({ storePath: `${hashPart}-${name}`, narSize }, 'published');
  }

  /** What its manifest says, with Secrets and defaults. */
  get resolved(): ResolvedCache {
    return this.#resolved;
  }

  get isPublic(): boolean {
    return this.#resolved.isPublic;
  }

  get tokens(): Tokens {
    return this.#credentials.tokens;
  }

  get keys(): Keys {
    return this.#credentials.keys;
  }

  /**
   * Gets ready for a changed manifest without changing anything yet; the function that it resolves with takes over.
   * @throws CacheError where the new manifest cannot be run
   */
  async prepare(resolved: ResolvedCache): Promise<() => Promise<void>> {
    this.#opened.check(resolved.database);
    const credentials = await this.#credentials.of(resolved);
    const useStorages = await this.storages.prepare(resolved.storages, resolved.strategy);
    return async () => {
      this.#opened.use(resolved.database);
      await useStorages();
      this.#resolved = resolved;
      Object.assign(this.#settings, resolved.settings);
      this.#use(credentials);
      await credentials.forgetOthers();
      this.#work.wake();
      this.scrub.wake();
      // Not waited for: while a database is away, other caches take over what is theirs.
      void this.pins.use(resolved.pins);
    };
  }

  /** What is known of each storage, in the manifest's order. */
  storageReport(): Promise<StorageStatus[]> {
    return reportStorages(this.storages, this.#work, this.lost);
  }

  /** Registers the public key of a self-signed cache. @param publicKey base64 of 32 bytes, without a name */
  async registerKey(publicKey: string): Promise<void> {
    await registerKey(this.database, this.keys, publicKey, this.#resolved.limits.maxRegisteredKeys);
    this.#use(await this.#credentials.withNewKeys());
  }

  #use(credentials: Credentials): void {
    this.#credentials = credentials;
    this.paths.forgetAll();
  }

  /** Takes a path away. @throws CacheError NotFound, Conflict, TooLarge, AbortError */
  deletePath(deletion: Deletion, signal: AbortSignal): Promise<Deleted> {
    const { database, objects, paths, blocks } = this;
    const pinsOf = (hashParts: readonly string[]) => this.pins.namesOf(hashParts);
    return deletePath({ database, objects, paths, blocks, pinsOf, logger: this.#logger }, deletion, signal);
  }

  /** Nobody may push a path from now on, whether it is here or not; what is here stays. @throws CacheError TooLarge */
  async block(path: { hashPart: string; name: string | null; reason: string }, actor: string | null): Promise<void> {
    await this.blocks.add(path, actor);
    this.#logger.warn({ ...path, actor }, 'blocked');
  }

  /** Why a path is here, or is not. */
  explain(hashPart: string): Promise<Explained> {
    return explain(this, hashPart);
  }

  /** Counts a request in; the function that it returns counts it out. A cache closes when none is left. */
  enter(): () => void {
    return this.#visits.enter();
  }

  /** Waits for requests and completions, at most `graceMs`, then lets go of everything. */
  async close(graceMs = 0): Promise<void> {
    const deadline = Date.now() + graceMs;
    await this.#visits.ended(graceMs);
    this.#stopping.abort();
    // What is cut off here is as safe as in a crash: the next start goes on with it or removes it.
    const work = Promise.allSettled([
      this.#housekeeping.stop(),
      this.closures.stop(),
      this.retention.stop(),
      this.uses.stop(),
      this.#work.stop(),
      this.scrub.stop(),
      this.uploads.idle(),
      this.pins.idle(),
      this.#unsynced.idle(),
      this.objects.idle(),
      this.intents.idle(),
    ]);
    await within(work, Math.max(LAST_WORK_MS, deadline - Date.now()));
    await this.storages.close();
    await this.#opened.close();
  }
}

/** What a stop waits at least for work in the background. */
const LAST_WORK_MS = 2000;
