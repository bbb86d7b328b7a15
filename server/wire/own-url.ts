/** Host names of ours as they are configured: an API URL, and aliases of it. */
import type { OwnHost } from './address.ts';
import { AddressError } from './errors.ts';

/** A host name with all that URLs below it need. */
export interface OwnUrl extends OwnHost {
  readonly url: URL;
  /** False where only the host was given: then the scheme is that of the request. */
  readonly hasScheme: boolean;
}

/** @throws AddressError for a URL with a path, which deploy agents and netrc could not use */
export function parseApiUrl(text: string, field = '--api-url'): OwnUrl {
  const url = baseUrl(text, field);
  return { hostname: url.hostname, cache: undefined, url, hasScheme: true };
}

/** @param text host or URL, or `cache=host` for the address of one cache. @throws AddressError */
export function parseAlias(text: string, field = '--alias'): OwnUrl {
  const [, cache, host = ''] = /^(?:([a-z0-9][a-z0-9-]*)=)?(.*)$/.exec(text) ?? [];
  const hasScheme = host.includes('://');
  const url = baseUrl(hasScheme ? host : `http://${host}`, field);
  return { hostname: url.hostname, cache, url, hasScheme };
}

function baseUrl(text: string, field: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw new AddressError(`${field}: expected http://host or https://host, got ${text}`);
  if (url.pathname !== '/' || url.search !== '' || url.username !== '')
    throw new AddressError(`${field}: give the host only, without a path: ${text}`);
  return url;
}
