/** Where a cache is found. */
import type { Inputs } from './inputs.ts';
import { namesOf } from './names.ts';
import type { Cache } from './types.ts';

/** Host of the Service, as every namespace resolves it. */
export function serviceHost(cache: Cache): string {
  return `${namesOf(cache).client}.${cache.metadata.namespace}.svc`;
}

/** `https://<cache>.<apihost>` where the gateway serves this name for the cache. */
export function gatewayUrl(cache: Cache, { apiUrl }: Inputs): string | undefined {
  if (apiUrl === undefined) return undefined;
  const url = new URL(apiUrl);
  url.hostname = `${cache.metadata.name}.${url.hostname}`;
  return url.origin;
}

/** Hosts that an Ingress or an HTTPRoute adds, as URLs. */
export function routeUrls({ spec }: Cache): string[] {
  const { ingress, httpRoute } = spec;
  // Which protocol a Gateway speaks is its own affair; X-Forwarded-Proto tells.
  const scheme = ingress && ingress.tlsSecretName === undefined ? 'http' : 'https';
  const hosts = ingress ? [ingress.host] : (httpRoute?.hostnames ?? []);
  // A wildcard is no address.
  return hosts.filter((host) => !host.startsWith('*')).map((host) => `${scheme}://${host}`);
}

/** The address to give to people. */
export function bestUrl(cache: Cache, inputs: Inputs): string {
  return gatewayUrl(cache, inputs) ?? routeUrls(cache)[0] ?? `http://${serviceHost(cache)}`;
}

/** Every host name by which clients reach the cache, or the API below which it is found. */
export function hostNames(cache: Cache, inputs: Inputs): string[] {
  const { apiUrl, aliases } = serverAddresses(cache, inputs);
  const api = new URL(apiUrl).hostname;
  const own = aliases.map((alias) => new URL(alias.slice(alias.indexOf('=') + 1)).hostname);
  return [...new Set([api, `${cache.metadata.name}.${api}`, ...own])];
}

/** What the server is told of its own addresses: `--api-url`, and `--alias` for the names that mean this cache. */
export function serverAddresses(cache: Cache, inputs: Inputs): { apiUrl: string; aliases: string[] } {
  const { name, namespace } = cache.metadata;
  const service = [serviceHost(cache), `${serviceHost(cache)}.cluster.local`, `${name}.${namespace}`, name];
  const aliases = [...service.map((host) => `http://${host}`), ...routeUrls(cache)];
  return {
    apiUrl: inputs.apiUrl ?? `http://${serviceHost(cache)}`,
    aliases: aliases.map((url) => `${name}=${url}`),
  };
}
