/** Where a cache is found. */
import { hostUrls } from '../../../crds/index.ts';
import { namesOf } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Inputs } from './inputs.ts';

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

/** The address to give to people. */
export function bestUrl(cache: Cache, inputs: Inputs): string {
  return gatewayUrl(cache, inputs) ?? hostUrls(cache.spec)[0] ?? `http://${serviceHost(cache)}`;
}

/** Every host name by which clients reach the cache, or the API below which it is found. */
export function hostNames(cache: Cache, inputs: Inputs): string[] {
  const { apiUrl, aliases } = serverAddresses(cache, inputs);
  const api = new URL(apiUrl).hostname;
  const urls = [...aliases.map((alias) => alias.slice(alias.indexOf('=') + 1)), ...hostUrls(cache.spec)];
  const own = urls.map((url) => new URL(url).hostname);
  return [...new Set([api, `${cache.metadata.name}.${api}`, ...own])];
}

/**
 * What the server is told of its own addresses by its environment: `--api-url`, and `--alias` for the names that mean this
 * cache. What Ingress and HTTPRoute add is in its manifest, since it may change without a restart.
 */
export function serverAddresses(cache: Cache, inputs: Inputs): { apiUrl: string; aliases: string[] } {
  const { name, namespace } = cache.metadata;
  const service = [serviceHost(cache), `${serviceHost(cache)}.cluster.local`, `${name}.${namespace}`, name];
  return {
    apiUrl: inputs.apiUrl ?? `http://${serviceHost(cache)}`,
    aliases: service.map((host) => `${name}=http://${host}`),
  };
}
