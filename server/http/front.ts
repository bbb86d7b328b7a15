/** The front: from host and path to a cache of this process. Any host is that of the only cache, if there is one. */
import type { BinaryCache, Caches } from '../cache/index.ts';
import { cachePath, hostnameOf } from '../wire/index.ts';
import type { Urls } from './urls.ts';

/** What a host or a path means. */
export interface Place {
  /** Undefined where it names no cache, or none that exists. */
  readonly cache: BinaryCache | undefined;
  /** Whether it names a cache at all: strangers must not learn whether there is one of that name. */
  readonly isNamed: boolean;
}

export interface Target extends Place {
  /** Path inside the cache, or the whole path of an API route that belongs to no cache. Decoded, begins with `/`. */
  readonly path: string;
  /** Whether the address is below `/api/v1`. */
  readonly api: boolean;
}

const REMEMBERED_HOSTS = 1000;

export class Front {
  readonly #caches: Caches;
  readonly #urls: Urls;
  /** Cache name that a listener of its own serves. */
  readonly #bound: string | undefined;
  readonly #byHost = new Map<string, Place>();
  #generation = -1;

  constructor(init: { caches: Caches; urls: Urls; bound?: string | undefined }) {
    this.#caches = init.caches;
    this.#urls = init.urls;
    this.#bound = init.bound;
  }

  /** @param path decoded, without a query */
  resolve(host: string | undefined, path: string): Target {
    const inside = cachePath(path);
    if (inside !== undefined) {
      const isOurs = this.#bound === undefined || this.#bound === inside.cache;
      const cache = isOurs ? this.#caches.get(inside.cache) : undefined;
      return { cache, isNamed: true, path: inside.path, api: true };
    }
    return { ...this.byHost(host), path, api: path.startsWith('/api/') };
  }

  /** The cache of a `Host` header. Remembered, since the hot routes ask for every request. */
  byHost(host: string | undefined): Place {
    if (this.#bound !== undefined) return { cache: this.#caches.get(this.#bound), isNamed: true };
    // Both only grow, and so does their sum with any change of either.
    const generation = this.#caches.generation + this.#urls.generation;
    if (this.#generation !== generation) {
      this.#byHost.clear();
      this.#generation = generation;
    }
    const key = host ?? '';
    const known = this.#byHost.get(key);
    if (known !== undefined) return known;
    const place = this.#lookUp(key);
    if (this.#byHost.size < REMEMBERED_HOSTS) this.#byHost.set(key, place);
    return place;
  }

  #lookUp(host: string): Place {
    const name = this.#urls.cacheOf(hostnameOf(host));
    const cache = (name === undefined ? undefined : this.#caches.get(name)) ?? this.#caches.only;
    return { cache, isNamed: name !== undefined || cache !== undefined };
  }
}
