/**
 * What an address says by itself: which cache is meant, and which path inside it. The Cachix client dictates the forms:
 * `<cache>.<api host>/...`, `<api host>/api/v1/cache/<cache>/...`, `api.<api host>`. Pure, since the gateway in front of
 * many servers reads addresses just so.
 */

/** A host name that is ours. */
export interface OwnHost {
  readonly hostname: string;
  /** The one cache that this host is the address of; undefined: caches are below it, as `<cache>.<hostname>`. */
  readonly cache: string | undefined;
}

/** The longest name decides; of two that are equal, the one that stands for one cache. */
export function inOrder<T extends OwnHost>(hosts: readonly T[]): T[] {
  return hosts.toSorted(
    (a, b) => b.hostname.length - a.hostname.length || Number(a.cache === undefined) - Number(b.cache === undefined),
  );
}

/** Which of our host names a request came by. @param hosts as `inOrder` has them */
export function ownHostOf<T extends OwnHost>(hosts: readonly T[], hostname: string): T | undefined {
  return hosts.find(
    (own) => hostname === own.hostname || (own.cache === undefined && hostname.endsWith(`.${own.hostname}`)),
  );
}

const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;

/** The name of the cache that a host stands for, whether there is one or not; undefined for an API host, and for no name. */
export function cacheOfHost(hosts: readonly OwnHost[], hostname: string): string | undefined {
  const own = ownHostOf(hosts, hostname);
  if (own === undefined || own.cache !== undefined) return own?.cache;
  if (hostname === own.hostname) return undefined;
  const name = hostname.slice(0, -own.hostname.length - 1);
  // No cache is called `api`, which is what deploy agents put before the API host, and none has a dot.
  return name !== 'api' && LABEL.test(name) ? name : undefined;
}

const CACHE_PREFIX = '/api/v1/cache/';

/** The cache that a path names, and the path inside it. @param path decoded, without a query */
export function cachePath(path: string): { readonly cache: string; readonly path: string } | undefined {
  if (!path.startsWith(CACHE_PREFIX)) return undefined;
  const slash = path.indexOf('/', CACHE_PREFIX.length);
  const cache = path.slice(CACHE_PREFIX.length, slash < 0 ? undefined : slash);
  return { cache, path: slash < 0 ? '/' : path.slice(slash) };
}

/** Path of a request line, without its query: origin form, or absolute form as proxies send it. */
export function rawPath(url: string): string {
  const path = url.startsWith('/') ? url : (/^https?:\/\/[^/?#]*(\/[^?#]*)/.exec(url)?.[1] ?? '/');
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}

/** Query of a request line. A name that comes twice has its last value. */
export function rawQuery(url: string): ReadonlyMap<string, string> {
  const start = url.indexOf('?');
  return new Map(start < 0 ? [] : new URLSearchParams(url.slice(start)));
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
