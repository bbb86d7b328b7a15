/**
 * Whose the public names are. The first cache of a name has it; the name stays bound to its namespace, also when the
 * cache is deleted, since clients trust whoever answers there. An administrator releases it by removing the entry.
 */
import type { Cache } from '../cache/index.ts';
import { type AllClaims, type ClaimRules, decideClaims, type Verdict } from './claims.ts';

/** `full`: its namespace has as many names as it may. */
export type Holder = 'this cache' | 'nobody' | 'full' | { readonly namespace: string };

export interface NameRules extends Pick<ClaimRules, 'nowMs' | 'most' | 'releaseMs'> {
  /** Namespaces that may have public names; empty: all. */
  readonly allowed: readonly string[];
}

/**
 * Decides about every cache. Pure.
 * @returns the records with the new claims, and the holder of each cache's name by `namespace/name`
 */
export function decideNames(
  records: AllClaims,
  caches: Iterable<Cache>,
  { allowed, ...rules }: NameRules,
): { readonly claims: AllClaims; readonly holders: ReadonlyMap<string, Holder> } {
  const all = [...caches];
  const isAllowed = ({ metadata: { namespace = '' } }: Cache) => allowed.length === 0 || allowed.includes(namespace);
  // A cache cannot be given another name: of names, unlike of tokens, the older cache did ask first.
  const wishes = all.filter(isAllowed).sort(byAge).map(wishOf);
  const decided = decideClaims(records, wishes, { ...rules, together: 'first', givesWay: false });
  const holderOf = (cache: Cache): Holder => {
    if (!isAllowed(cache)) return 'nobody';
    const wish = wishOf(cache);
    const verdict: Verdict = decided.verdictOf(wish);
    if (verdict === 'held') return 'this cache';
    return verdict === 'taken' ? { namespace: decided.holderOf(wish.key) ?? '' } : 'full';
  };
  const holders = all.map((cache) => [`${cache.metadata.namespace}/${cache.metadata.name}`, holderOf(cache)] as const);
  return { claims: decided.claims, holders: new Map(holders) };
}

const wishOf = ({ metadata: { name, namespace = '' } }: Cache) => ({ key: name, namespace });

/** The older first; of two of the same second, by namespace, so that every replica decides alike. */
function byAge(a: Cache, b: Cache): number {
  const [x, y] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.namespace}`);
  return (x ?? '') < (y ?? '') ? -1 : 1;
}
