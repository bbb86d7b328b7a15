/**
 * One cache: it owns its database, its storages and its keys. Everything in its folder is its own, so that a cache is
 * deleted by deleting a folder.
 */
import path from 'node:path';
import type { Logger } from 'pino';
import type { StorageStatus } from '../../crds/index.ts';
import type { Database } from '../metadata/index.ts';
import { parsePublicKey } from '../nix/index.ts';
import { type ByteBudget, LocalStorage } from '../storage/index.ts';
import { removeOldTokens, Tokens } from './access/index.ts';
import { cacheId, Leases, type OpenDatabase, openDatabase } from './database/index.ts';
import { CacheError } from './errors.ts';
import type { CacheMetrics } from './metrics.ts';
import { Mover, reportStorages, StorageWork } from './moving/index.ts';
import { Intents, Objects } from './objects/index.ts';
import { Lost, type NewPath, Paths, Realisations } from './paths/index.ts';
import { Nars, Uploads } from './push/index.ts';
import type { ResolvedCache } from './resolve.ts';
import type { Settings } from './settings.ts';
import { Keys } from './signing/index.ts';
import { Storages } from './storages/index.ts';
import { Housekeeping, removeLeftovers, Scrub } from './upkeep/index.ts';
import type { Verifier } from './verify/index.ts';

export interface BinaryCacheInit {
  readonly plan: ResolvedCache;
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
  readonly intents: Intents;
  readonly leases: Leases;
  readonly mover: Mover;
  readonly lost: Lost;
  readonly scrub: Scrub;
  readonly #init: BinaryCacheInit;
  readonly #work: StorageWork;
  readonly #opened: OpenDatabase;
  readonly #housekeeping: Housekeeping;
  readonly #settings: Settings;
  readonly #stopping = new AbortController();
  #plan: ResolvedCache;
  #keys: Keys;
  #tokens: Tokens;
  #requests = 0;
  #idle: (() => void) | undefined;

  private constructor(init: BinaryCacheInit, parts: { opened: OpenDatabase; id: string; keys: Keys; tokens: Tokens }) {
    const { plan, verifier } = init;
    const { database } = parts.opened;
    const logger = init.logger.child({ cache: plan.name });
    // A copy that all parts look at, so that a changed manifest reaches them.
    const settings = { ...plan.settings };
    this.#settings = settings;
    const keys = () => this.#keys;
    this.name = plan.name;
    this.folder = init.folder;
    this.#init = init;
    this.#plan = plan;
    this.#keys = parts.keys;
    this.#tokens = parts.tokens;
    this.#opened = parts.opened;
    this.database = database;
    const leases = new Leases({ database, logger });
    this.leases = leases;
    const intents = new Intents({ database, logger, storages: () => this.storages.list() });
    this.intents = intents;
    this.storages = new Storages({
      database,
      cache: plan.name,
      cacheId: parts.id,
      isShared: database.isShared,
      settings,
      logger,
      intents,
      budget: init.budget,
      metrics: init.metrics,
      settle: async (storage) => {
        // Where other servers write too, what they are about to publish looks like a leftover.
        if (init.inspecting || database.isShared || !(storage instanceof LocalStorage)) return;
        await removeLeftovers({ database, logger }, storage);
      },
    });
    this.objects = new Objects({
      database,
      storages: this.storages,
      intents,
      logger,
      isLost: (object) => this.lost.report(object),
    });
    const look = async (key: string) => {
      const object = await this.objects.find(key);
      if (object !== undefined) await this.objects.isThere(object);
    };
    this.paths = new Paths({
      ...{ database, keys, cacheBytes: settings.narinfoCacheBytes, look },
      maxNarInfoBytes: () => this.#plan.limits.maxNarInfoBytes,
    });
    const lost = new Lost({ database, storages: this.storages, objects: this.objects, paths: this.paths, logger });
    this.lost = lost;
    const onPublished = (published: NewPath) => {
      init.metrics.published(plan.name);
      logger.info({ storePath: `${published.hashPart}-${published.name}`, narSize: published.narSize }, 'published');
    };
    const shared = {
      database,
      storages: this.storages,
      objects: this.objects,
      paths: this.paths,
      intents,
      leases,
      verifier,
      keys,
      settings,
      logger,
      onPublished,
    };
    this.nars = new Nars(shared);
    this.realisations = new Realisations(shared);
    this.uploads = new Uploads(shared);
    this.mover = new Mover({ database, storages: this.storages, objects: this.objects, intents, lost, settings });
    this.#work = new StorageWork({
      ...shared,
      mover: this.mover,
      uploads: this.uploads,
      onMoved: (storage, bytes) => init.metrics.moved(plan.name, storage, bytes),
    });
    this.scrub = new Scrub({ ...shared, lost });
    this.#housekeeping = new Housekeeping({
      database,
      storages: this.storages,
      objects: this.objects,
      uploads: this.uploads,
      intents,
      leases,
      settings,
      logger,
    });
  }

  /**
   * Opens a cache, making its folder, id and keys where they are new and the database is not shared.
   * @throws FolderLockedError, DatabaseError, NewerDatabaseError, CacheError
   */
  static async open(init: BinaryCacheInit): Promise<BinaryCache> {
    const { plan } = init;
    const { name, database: target, settings } = plan;
    const opened = await openDatabase({ ...init, name, target, settings });
    let cache: BinaryCache | undefined;
    try {
      const { database } = opened;
      const id = await cacheId(database);
      const keys = await loadKeys(init, database, plan);
      const tokens = await loadTokens(init, database, plan);
      cache = new BinaryCache(init, { opened, id, keys, tokens });
      const useStorages = await cache.storages.prepare(plan.storages, plan.strategy);
      await useStorages();
      if (!init.inspecting) await cache.intents.inherit();
      await cache.uploads.resume();
      if (!init.inspecting) await cache.#forgetTokens();
      cache.#start();
      return cache;
    } catch (error) {
      await cache?.storages.close();
      await opened.close();
      throw error;
    }
  }

  #start(): void {
    const { logger, plan } = this.#init;
    if (this.#keys.lost !== undefined) logger.error({ cache: plan.name }, `pushes are refused: ${this.#keys.lost}`);
    if (this.#init.inspecting) return;
    this.objects.collect();
    this.#housekeeping.start();
    this.#work.start();
    this.scrub.start();
    this.paths.load(this.#stopping.signal).catch((error: unknown) => {
      if (this.#stopping.signal.aborted) return;
      logger.error({ err: error, cache: plan.name }, 'the set of paths could not be loaded');
    });
  }

  /** Texts of tokens that the manifest no longer asks for. The tokens themselves are refused already. */
  async #forgetTokens(): Promise<void> {
    const folder = tokensFolder(this.#init, this.database);
    if (folder === undefined) return;
    await removeOldTokens(this.#plan.tokens, folder).catch((error: unknown) => {
      const cache = this.name;
      this.#init.logger.warn(
        { err: error, cache },
        'old tokens could not be removed: listed again, they would be valid',
      );
    });
  }

  get plan(): ResolvedCache {
    return this.#plan;
  }

  get isPublic(): boolean {
    return this.#plan.isPublic;
  }

  get tokens(): Tokens {
    return this.#tokens;
  }

  get keys(): Keys {
    return this.#keys;
  }

  /**
   * Gets ready for a changed manifest without changing anything yet; the function that it resolves with takes over.
   * @throws CacheError where the new manifest cannot be run
   */
  async prepare(plan: ResolvedCache): Promise<() => Promise<void>> {
    this.#opened.check(plan.database);
    const keys = await loadKeys(this.#init, this.database, plan);
    const tokens = await loadTokens(this.#init, this.database, plan);
    const useStorages = await this.storages.prepare(plan.storages, plan.strategy);
    return async () => {
      this.#opened.use(plan.database);
      await useStorages();
      this.#plan = plan;
      Object.assign(this.#settings, plan.settings);
      this.#tokens = tokens;
      this.#useKeys(keys);
      await this.#forgetTokens();
      this.#work.wake();
      this.scrub.wake();
    };
  }

  /** What is known of each storage, in the manifest's order. */
  storageReport(): Promise<StorageStatus[]> {
    return reportStorages(this.storages, this.#work, this.lost);
  }

  /** Registers the public key of a self-signed cache. @param publicKey base64 of 32 bytes, without a name */
  async registerKey(publicKey: string): Promise<void> {
    if (this.#keys.mode !== 'SelfSigned')
      throw new CacheError(
        'Invalid',
        'this cache signs paths itself; set signing.mode to SelfSigned to use your own key',
      );
    const text = `${this.#keys.name}:${publicKey}`;
    try {
      parsePublicKey(text);
    } catch (error) {
      throw new CacheError('Invalid', 'publicKey: expected the base64 of 32 bytes', { cause: error });
    }
    const { maxRegisteredKeys } = this.#plan.limits;
    const isRegistered = await this.database.write(async (sql) => {
      const known = await sql.query<{ public_key: string }>('SELECT public_key FROM registered_keys');
      if (known.some((row) => row.public_key === text)) return true;
      if (known.length >= maxRegisteredKeys) return false;
      await sql.query('INSERT INTO registered_keys (public_key, registered_at) VALUES (?, ?) ON CONFLICT DO NOTHING', [
        text,
        Date.now(),
      ]);
      return true;
    });
    if (!isRegistered)
      throw new CacheError(
        'Conflict',
        `this cache has ${maxRegisteredKeys} registered keys, and takes no more; use one of them, or raise spec.limits.maxRegisteredKeys`,
      );
    this.#useKeys(await loadKeys(this.#init, this.database, this.#plan));
  }

  #useKeys(keys: Keys): void {
    this.#keys = keys;
    this.paths.forgetAll();
  }

  /** Counts a request in; the function that it returns counts it out. A cache closes when none is left. */
  enter(): () => void {
    this.#requests++;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      if (--this.#requests === 0) this.#idle?.();
    };
  }

  /** Waits for requests and completions, at most `graceMs`, then lets go of everything. */
  async close(graceMs = 0): Promise<void> {
    const deadline = Date.now() + graceMs;
    if (this.#requests > 0) {
      const idle = new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
      await within(idle, graceMs);
    }
    this.#stopping.abort();
    // What is cut off here is as safe as in a crash: the next start goes on with it or removes it.
    const work = Promise.allSettled([
      this.#housekeeping.stop(),
      this.#work.stop(),
      this.scrub.stop(),
      this.uploads.idle(),
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

/** Waits for `work`, but no longer than `ms`. */
async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}

function loadKeys(init: BinaryCacheInit, database: Database, plan: ResolvedCache): Promise<Keys> {
  return Keys.load({
    folder: database.isShared ? undefined : init.folder,
    cache: plan.name,
    host: init.host,
    renameHost: init.renameHost,
    signing: plan.signing,
    rootSecret: plan.rootSecret,
    missing: plan.missingKeys,
    database,
  });
}

function loadTokens(init: BinaryCacheInit, database: Database, plan: ResolvedCache): Promise<Tokens> {
  return Tokens.load(plan.tokens, tokensFolder(init, database));
}

/** Where generated tokens lie; undefined where none may be made. */
function tokensFolder(init: BinaryCacheInit, database: Database): string | undefined {
  return database.isShared ? undefined : path.join(init.folder, 'tokens');
}
