import { type BinaryCache, hostUrls } from '../../crds/index.ts';
import { cacheOfHost, inOrder, type OwnUrl, ownHostOf, parseAlias, parseApiUrl, type Scheme } from '../wire/index.ts';

/**
 * The URLs that we hand out. They come from `--api-url`, or from an `--alias` or a host of a manifest that the request came
 * by; what a client writes into `Host` never reaches a URL by itself.
 */
export class Urls {
  readonly #aliases: readonly OwnUrl[];
  #named: readonly OwnUrl[] = [];
  #api: OwnUrl;
  #hosts: readonly OwnUrl[] = [];
  #generation = 0;

  /**
   * @param aliases `host`, or `cache=host` for a host that is the address of one cache
   * @throws AddressError for a URL with a path, which deploy agents and netrc could not use
   */
  constructor(apiUrl: string, aliases: readonly string[] = []) {
    this.#aliases = aliases.map((alias) => parseAlias(alias));
    this.#api = this.#apiHost(apiUrl);
    this.#settle();
  }

  /** The API URL once the port is known that a listener on port 0 got. */
  usePort(apiUrl: string): void {
    this.#api = this.#apiHost(apiUrl);
    this.#settle();
  }

  /** The hosts that manifests name for their caches, in place of those before. */
  useHosts(caches: readonly Pick<BinaryCache, 'metadata' | 'spec'>[]): void {
    this.#named = caches.flatMap(({ metadata, spec }) =>
      hostUrls(spec).map((url) => parseAlias(`${metadata.name}=${url}`)),
    );
    this.#settle();
  }

  /** Grows whenever a host may lead elsewhere than before. */
  get generation(): number {
    return this.#generation;
  }

  /** Host of the API URL, without a port: part of key names. */
  get host(): string {
    return this.#api.hostname;
  }

  /** Name of the cache that a host stands for, whether there is one or not. */
  cacheOf(hostname: string): string | undefined {
    return cacheOfHost(this.#hosts, hostname);
  }

  /** Every host name that stands for a cache, or for the API below which it is found. */
  hostsOf(cache: string): string[] {
    return this.#hosts.flatMap((own) => {
      if (own.cache !== undefined) return own.cache === cache ? [own.hostname] : [];
      return [own.hostname, `${cache}.${own.hostname}`];
    });
  }

  /** `scheme://host[:port]` for a request that came by `hostname`. */
  api(hostname?: string, scheme?: Scheme): string {
    return seenBy(this.#by(hostname), scheme).origin;
  }

  /** What becomes a substituter: `scheme://<cache>.host[:port]`, or a host that is this cache's own. */
  cache(name: string, hostname?: string, scheme?: Scheme): string {
    const own = this.#by(hostname);
    if (own.cache === name) return seenBy(own, scheme).origin;
    // Below the host of another cache there is none.
    const url = new URL(own.cache === undefined ? seenBy(own, scheme) : this.#api.url);
    url.hostname = `${name}.${url.hostname}`;
    return url.origin;
  }

  /** A cache below the API host: for programs that do not resolve `*.localhost`. */
  cacheByPath(name: string, hostname?: string, scheme?: Scheme): string {
    return `${this.api(hostname, scheme)}/api/v1/cache/${name}`;
  }

  /** What the flags say of a host, and of those below it, no manifest changes. */
  #settle(): void {
    const own = inOrder([this.#api, ...this.#aliases]);
    this.#hosts = inOrder([...own, ...this.#named.filter(({ hostname }) => ownHostOf(own, hostname) === undefined)]);
    this.#generation++;
  }

  /** Where there is no gateway, the Service of the only cache is the API host as well. */
  #apiHost(apiUrl: string): OwnUrl {
    const api = parseApiUrl(apiUrl);
    const cache = this.#aliases.find(({ hostname }) => hostname === api.hostname)?.cache;
    return { ...api, cache };
  }

  #by(hostname: string | undefined): OwnUrl {
    return (hostname === undefined ? undefined : ownHostOf(this.#hosts, hostname)) ?? this.#api;
  }
}

/** @param scheme by which the request came; decides for an alias that was given without one */
function seenBy({ url, hasScheme }: OwnUrl, scheme: Scheme | undefined): URL {
  if (hasScheme || scheme === undefined) return url;
  const seen = new URL(url);
  seen.protocol = scheme;
  return seen;
}
