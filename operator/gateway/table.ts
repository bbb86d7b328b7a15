/** The gateway's routing table: where each public name leads, and which cache a token belongs to. Pure. */
import type { RoutingHead, RoutingShard } from '../../crds/index.ts';
import { type Cache, serviceHost } from '../cache/index.ts';
import type { Refusals } from './tokens.ts';

export const routingHead = (apiUrl: string): RoutingHead => ({ apiUrl, aliases: [] });

/**
 * The shard of each namespace that has caches in the table.
 * @param digits of the tokens of each cache that has its public name and pods
 * @param refused of these digits, by `namespace/name` of the cache
 */
export function routingShards(
  digits: ReadonlyMap<Cache, readonly string[]>,
  refused: ReadonlyMap<string, Refusals>,
): ReadonlyMap<string, RoutingShard> {
  const shards = new Map<string, RoutingShard>();
  for (const [cache, own] of [...digits].sort(([a], [b]) => (a.metadata.name < b.metadata.name ? -1 : 1))) {
    const { name, namespace = '' } = cache.metadata;
    const shard = shards.get(namespace) ?? { caches: {} };
    const no = refused.get(`${namespace}/${name}`);
    const tokens = no?.size ? own.filter((it) => !no.has(it)) : [...own];
    shard.caches[name] = { url: `http://${serviceHost(cache)}`, tokens };
    shards.set(namespace, shard);
  }
  return shards;
}
