import { CacheError } from '../cache/index.ts';
import type { Scheme } from './proxies.ts';

interface Alias {
  readonly url: URL;
  readonly hasScheme: boolean;
}

/**
 * The URLs that we hand out. They come from `--api-url`, or from an `--alias` that the request came by; what a client
 * writes into `Host` never reaches a URL by itself.
 */
export class Urls {
  #api: URL;
  readonly #aliases: ReadonlyMap<string, Alias>;

  /** @throws CacheError for a URL with a path, which deploy agents and netrc could not use */
  constructor(apiUrl: string, aliases: readonly string[] = []) {
    this.#api = baseUrl(apiUrl, '--api-url');
    this.#aliases = new Map(
      aliases
        .map((alias): Alias => {
          const hasScheme = alias.includes('://');
          return { url: baseUrl(hasScheme ? alias : `http://${alias}`, '--alias'), hasScheme };
        })
        .map((alias) => [alias.url.hostname, alias]),
    );
  }

  /** The API URL once the port is known that a listener on port 0 got. */
  usePort(apiUrl: string): void {
    this.#api = baseUrl(apiUrl, '--api-url');
  }

  /** Host of the API URL, without a port: part of key names. */
  get host(): string {
    return this.#api.hostname;
  }

  /** All host names that are the API host. */
  get hosts(): string[] {
    return [this.#api.hostname, ...this.#aliases.keys()];
  }

  /** `scheme://host[:port]` for a request that came by `hostname`. */
  api(hostname?: string, scheme?: Scheme): string {
    return origin(this.#by(hostname, scheme));
  }

  /** `scheme://<cache>.host[:port]`: what becomes a substituter. */
  cache(name: string, hostname?: string, scheme?: Scheme): string {
    const url = new URL(this.#by(hostname, scheme));
    url.hostname = `${name}.${url.hostname}`;
    return origin(url);
  }

  /** A cache below the API host: for programs that do not resolve `*.localhost`. */
  cacheByPath(name: string, hostname?: string, scheme?: Scheme): string {
    return `${this.api(hostname, scheme)}/api/v1/cache/${name}`;
  }

  /** @param scheme by which the request came; decides for an alias that was given without one */
  #by(hostname: string | undefined, scheme: Scheme | undefined): URL {
    if (hostname === undefined) return this.#api;
    for (const [host, { url, hasScheme }] of this.#aliases) {
      if (hostname !== host && !hostname.endsWith(`.${host}`)) continue;
      if (hasScheme || scheme === undefined) return url;
      const seen = new URL(url);
      seen.protocol = scheme;
      return seen;
    }
    return this.#api;
  }
}

function baseUrl(text: string, option: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new CacheError('Invalid', `${option}: expected http://host or https://host, got ${text}`);
  if (url.pathname !== '/' || url.search !== '' || url.username !== '')
    throw new CacheError('Invalid', `${option}: give the host only, without a path: ${text}`);
  return url;
}

function origin(url: URL): string {
  return url.origin;
}
