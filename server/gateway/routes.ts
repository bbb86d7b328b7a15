/** From an address to the cache that answers it, by the routing table, or to what strangers hear. Pure. */
import { createHash } from 'node:crypto';
import { type RoutingTable, tokenDigits } from '../../crds/index.ts';
import {
  cacheOfHost,
  cachePath,
  credentialOf,
  decodePath,
  hostnameOf,
  inOrder,
  OPENAPI_PATH,
  type OwnHost,
  openapi,
  parseAlias,
  parseApiUrl,
  rawPath,
  type StrangerAnswer,
  strangerAnswer,
  tokenOf,
} from '../wire/index.ts';

/** What of a request decides where it goes. */
export interface Address {
  readonly method: string;
  /** As it stands in the request line. */
  readonly url: string;
  readonly host: string | undefined;
  readonly authorization: string | undefined;
}

/** Routes of the API that name no cache: a token's self-test, and Cachix Deploy with its WebSockets. */
const BY_TOKEN = /^\/(?:api\/v1\/user|api\/v[12]\/deploy\/.+|ws|ws-deployment)$/;
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'POST']);

export class Routes {
  readonly table: RoutingTable;
  /** Of the API URL: for requests that name no host. */
  readonly host: string;
  readonly #hosts: readonly OwnHost[];
  readonly #byToken = new Map<string, string>();
  readonly #only: string | undefined;

  /**
   * @param isShared caches of several owners: what names none of them is then nobody's, however many there are now
   * @throws AddressError
   */
  constructor(table: RoutingTable, isShared = false) {
    const api = parseApiUrl(table.apiUrl, 'apiUrl');
    this.table = table;
    this.host = api.url.host;
    this.#hosts = inOrder([api, ...table.aliases.map((alias) => parseAlias(alias, 'aliases'))]);
    const names = Object.keys(table.caches);
    for (const name of names)
      for (const digits of table.caches[name]?.tokens ?? [])
        if (!this.#byToken.has(digits)) this.#byToken.set(digits, name);
    this.#only = names.length === 1 && !isShared ? names[0] : undefined;
  }

  /**
   * The cache that an address means, or what to answer: for a name that no cache has, what a server answers to strangers
   * of a private cache. The texts are those of a server.
   */
  resolve({ method, url, host, authorization }: Address): string | StrangerAnswer {
    const path = decodePath(rawPath(url));
    if (path === undefined) return { status: 404, text: 'not found' };
    // As every server would, whichever of them are there.
    if (path === OPENAPI_PATH && (method === 'GET' || method === 'HEAD')) return openapi();
    if (BY_TOKEN.test(path))
      return this.#cacheOfToken(authorization) ?? { status: 401, text: 'no cache here knows this token' };
    const hasCredential = credentialOf(authorization) !== undefined;
    const inside = cachePath(path);
    if (inside !== undefined) {
      if (this.#has(inside.cache)) return inside.cache;
      return strangerAnswer({ method, path: inside.path, isApi: true, hasCredential });
    }
    const named = cacheOfHost(this.#hosts, hostnameOf(host ?? ''));
    const cache = named !== undefined && this.#has(named) ? named : this.#only;
    if (cache !== undefined) return cache;
    if (named !== undefined) return strangerAnswer({ method, path, isApi: false, hasCredential });
    if (!METHODS.has(method)) return { status: 405, text: `${method} is not possible here` };
    return { status: 404, text: 'no such cache' };
  }

  #has(name: string): boolean {
    return Object.hasOwn(this.table.caches, name);
  }

  #cacheOfToken(authorization: string | undefined): string | undefined {
    const token = tokenOf(authorization);
    if (token === undefined) return undefined;
    return this.#byToken.get(createHash('sha256').update(token).digest('hex').slice(0, tokenDigits));
  }
}
