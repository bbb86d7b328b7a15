/** The gateway's routing table: where each public name leads, and which cache a token belongs to. Pure. */
import type { RoutingTable } from '../../crds/index.ts';
import { type Cache, namesOf, ROUTES_ANNOTATION, serviceHost } from '../cache/index.ts';
import type { ConfigMap } from '../runtime/index.ts';
import type { Holder } from './names.ts';

/**
 * @param holders of the names, by `namespace/name` of the cache
 * @param configOf the ConfigMap of a cache, which tells the prefixes of its tokens; a cache without one has no pods yet
 */
export function routingTable(
  apiUrl: string,
  caches: Iterable<Cache>,
  holders: ReadonlyMap<string, Holder>,
  configOf: (namespace: string, name: string) => ConfigMap | undefined,
): RoutingTable {
  const routes: Record<string, RoutingTable['caches'][string]> = {};
  for (const cache of [...caches].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))) {
    const { name, namespace = '' } = cache.metadata;
    if (holders.get(`${namespace}/${name}`) !== 'this cache') continue;
    const config = configOf(namespace, namesOf(cache).config);
    if (!config) continue;
    const tokens = (config.metadata.annotations?.[ROUTES_ANNOTATION] ?? '').split(',').filter(Boolean);
    routes[name] = { url: `http://${serviceHost(cache)}`, tokens };
  }
  return { apiUrl, aliases: [], caches: routes };
}
