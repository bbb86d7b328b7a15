/** The caches of this process: what the manifests ask for is opened, changed or closed, all or nothing. */
import path from 'node:path';
import type { Logger } from 'pino';
import type { Documents } from '../../crds/index.ts';
import type { ByteBudget } from '../storage/index.ts';
import { BinaryCache } from './binary-cache.ts';
import { CacheError } from './errors.ts';
import type { CacheMetrics } from './metrics.ts';
import { naming } from './naming.ts';
import { type ResolvedCache, resolveCache } from './resolve.ts';
import type { Settings } from './settings.ts';
import type { Verifier } from './verify/index.ts';

export interface CachesInit {
  /** The data folder; each cache has a folder in it. */
  readonly data: string;
  /** Where a volume is mounted for each local storage; undefined: storages are folders of their cache. */
  readonly volumes: string | undefined;
  readonly host: string | undefined;
  readonly renameHost: boolean;
  /** Version of this server; a database may need a later one. */
  readonly version: string;
  readonly verifier: Verifier;
  readonly logger: Logger;
  readonly metrics: CacheMetrics;
  /** Memory for bytes on their way to S3, of all caches together. */
  readonly budget: ByteBudget;
  /** Timers that the process sets, not the manifest. */
  readonly settings: Partial<Settings>;
  /** How long requests of a cache that goes may still run. */
  readonly graceMs: number;
  /** Only to look: nothing is removed and nothing runs in the background. */
  readonly inspecting: boolean;
}

export class Caches {
  readonly #init: CachesInit;
  #open = new Map<string, BinaryCache>();
  #generation = 0;
  #closing: Promise<unknown> = Promise.resolve();

  constructor(init: CachesInit) {
    this.#init = init;
  }

  get(name: string): BinaryCache | undefined {
    return this.#open.get(name);
  }

  list(): BinaryCache[] {
    return [...this.#open.values()];
  }

  /** The only cache, if there is exactly one: it answers on any host. */
  get only(): BinaryCache | undefined {
    return this.#open.size === 1 ? this.#open.values().next().value : undefined;
  }

  /** Changes whenever caches come or go, so that a front may remember what it resolved. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Makes the running caches what `documents` say. Everything that can fail is tried before anything changes; where it
   * fails, all goes on as it was. @throws CacheError and others, naming the cache
   */
  async apply(documents: Documents): Promise<void> {
    const wanted = await Promise.all(
      documents.binaryCaches.map(({ metadata: { name } }) => naming(name, () => this.#resolve(name, documents))),
    );
    const commits: (() => Promise<void>)[] = [];
    const opened: BinaryCache[] = [];
    const next = new Map<string, BinaryCache>();
    // A folder that is still being closed cannot be opened.
    await this.#closing;
    try {
      for (const resolved of wanted) {
        const running = this.#open.get(resolved.name);
        if (running === undefined) {
          const cache = await naming(resolved.name, () => this.#openCache(resolved));
          opened.push(cache);
          next.set(resolved.name, cache);
        } else {
          commits.push(await naming(resolved.name, () => running.prepare(resolved)));
          next.set(resolved.name, running);
        }
      }
    } catch (error) {
      await Promise.all(opened.map((cache) => cache.close()));
      throw error;
    }
    const gone = this.list().filter((cache) => !next.has(cache.name));
    this.#open = next;
    this.#generation++;
    for (const commit of commits) await commit();
    this.#closing = Promise.all(gone.map((cache) => this.#closeCache(cache)));
  }

  /** Closes all caches once their requests are done, or `graceMs` are over. */
  async close(graceMs = this.#init.graceMs): Promise<void> {
    const all = this.list();
    this.#open = new Map();
    this.#generation++;
    await Promise.all([this.#closing, ...all.map((cache) => cache.close(graceMs))]);
  }

  #resolve(name: string, documents: Documents): ResolvedCache {
    const manifest = documents.binaryCaches.find((it) => it.metadata.name === name);
    if (manifest === undefined) throw new CacheError('NotFound', `no manifest of cache ${name}`);
    const { volumes, settings } = this.#init;
    return resolveCache(manifest, documents, { folder: this.#folder(name), volumes }, settings);
  }

  #folder(name: string): string {
    return path.join(this.#init.data, name);
  }

  #openCache(resolved: ResolvedCache): Promise<BinaryCache> {
    const { data: _, volumes: __, settings: ___, graceMs: ____, ...init } = this.#init;
    return BinaryCache.open({ ...init, resolved, folder: this.#folder(resolved.name) });
  }

  async #closeCache(cache: BinaryCache): Promise<void> {
    this.#init.logger.info({ cache: cache.name }, 'cache is no longer in the manifests; it stops and its folder stays');
    await cache.close(this.#init.graceMs);
  }
}
