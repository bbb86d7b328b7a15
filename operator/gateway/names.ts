/**
 * Whose the public names are. The first cache of a name has it; the name stays bound to its namespace, also when the
 * cache is deleted, since clients trust whoever answers there. An administrator releases it by removing the entry.
 */
import type { Cache } from '../cache/index.ts';

/** Cache name to namespace: the data of the ConfigMap that records it. */
export type NameRecords = Readonly<Record<string, string>>;

export type Holder = 'this cache' | 'nobody' | { readonly namespace: string };

/**
 * Decides about every cache. Pure.
 * @param allowed namespaces that may have public names; empty: all
 * @returns the records with the new claims, and the holder of each cache's name by `namespace/name`
 */
export function decideNames(
  records: NameRecords,
  caches: Iterable<Cache>,
  allowed: readonly string[],
): { readonly records: NameRecords; readonly holders: ReadonlyMap<string, Holder> } {
  // A Map: a cache may be called `constructor`, which every object has.
  const next = new Map(Object.entries(records));
  const holders = new Map<string, Holder>();
  for (const cache of [...caches].sort(byAge)) {
    const { name, namespace = '' } = cache.metadata;
    const key = `${namespace}/${name}`;
    if (allowed.length > 0 && !allowed.includes(namespace)) {
      holders.set(key, 'nobody');
      continue;
    }
    const holder = next.get(name) ?? namespace;
    next.set(name, holder);
    holders.set(key, holder === namespace ? 'this cache' : { namespace: holder });
  }
  return { records: Object.fromEntries(next), holders };
}

/** The older first; of two of the same second, by namespace, so that every replica decides alike. */
function byAge(a: Cache, b: Cache): number {
  const [x, y] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.namespace}`);
  return (x ?? '') < (y ?? '') ? -1 : 1;
}
