/**
 * The front: from host and path to a cache and a path inside it. The Cachix client dictates the addresses:
 * `<cache>.<api host>/...`, `<api host>/api/v1/cache/<cache>/...`, `api.<api host>`, and any host where there is one cache.
 */
import type { BinaryCache, Caches } from '../cache/index.ts';
import type { Urls } from './urls.ts';

export interface Target {
  /** The cache that the address names; undefined where it names none, or none that exists. */
  readonly cache: BinaryCache | undefined;
  /** Path inside the cache, or the whole path of an API route that belongs to no cache. Decoded, begins with `/`. */
  readonly path: string;
  /** Whether the address is below `/api/v1`. */
  readonly api: boolean;
}

const CACHE_PREFIX = '/api/v1/cache/';
const REMEMBERED_HOSTS = 1000;

export class Front {
  readonly #caches: Caches;
  readonly #urls: Urls;
  /** Cache name that a listener of its own serves. */
  readonly #bound: string | undefined;
  readonly #byHost = new Map<string, BinaryCache | undefined>();
  #generation = -1;

  constructor(init: { caches: Caches; urls: Urls; bound?: string | undefined }) {
    this.#caches = init.caches;
    this.#urls = init.urls;
    this.#bound = init.bound;
  }

  /** @param path decoded, without a query */
  resolve(host: string | undefined, path: string): Target {
    if (path.startsWith(CACHE_PREFIX)) {
      const slash = path.indexOf('/', CACHE_PREFIX.length);
      const name = path.slice(CACHE_PREFIX.length, slash < 0 ? undefined : slash);
      const cache = this.#bound === undefined || this.#bound === name ? this.#caches.get(name) : undefined;
      return { cache, path: slash < 0 ? '/' : path.slice(slash), api: true };
    }
    return { cache: this.byHost(host), path, api: path.startsWith('/api/') };
  }

  /** The cache of a `Host` header. Remembered, since the hot routes ask for every request. */
  byHost(host: string | undefined): BinaryCache | undefined {
    if (this.#bound !== undefined) return this.#caches.get(this.#bound);
    if (this.#generation !== this.#caches.generation) {
      this.#byHost.clear();
      this.#generation = this.#caches.generation;
    }
    const key = host ?? '';
    if (this.#byHost.has(key)) return this.#byHost.get(key);
    const cache = this.#lookUp(key);
    if (this.#byHost.size < REMEMBERED_HOSTS) this.#byHost.set(key, cache);
    return cache;
  }

  #lookUp(host: string): BinaryCache | undefined {
    const name = hostnameOf(host);
    for (const apiHost of this.#urls.hosts) {
      if (!name.endsWith(`.${apiHost}`)) continue;
      const cache = this.#caches.get(name.slice(0, -apiHost.length - 1));
      if (cache !== undefined) return cache;
    }
    return this.#caches.only;
  }
}

/** `Host` without its port, lower case, without a final dot. */
export function hostnameOf(host: string): string {
  return host.replace(/:\d*$/, '').replace(/\.$/, '').toLowerCase();
}

/**
 * Decodes a request path once. Undefined for what can only be an attack or a mistake: bad escapes, NUL, backslash,
 * `.` and `..` segments. `+` stays a plus; doubled slashes count as one.
 */
export function decodePath(raw: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(raw);
  } catch {
    return undefined;
  }
  if (!path.startsWith('/') || path.includes('\0') || path.includes('\\')) return undefined;
  path = path.replace(/\/{2,}/g, '/');
  return path.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : path;
}
