/**
 * Who holds what there is once in the whole cluster: a public name, or the digits by which tokens are routed. Whoever
 * claimed a key first has it, and that is recorded: how old a cache is says nothing, since it may ask for a key later.
 * Pure: `now` is a rule.
 */

/** When a claim was made, and since when nothing needs it; in milliseconds, whole seconds. */
export interface Claim {
  readonly sinceMs: number;
  readonly unusedMs?: number;
}

/** Of one namespace, by key. */
export type Claims = ReadonlyMap<string, Claim>;

/** By namespace. */
export type AllClaims = ReadonlyMap<string, Claims>;

/** Something that a namespace asks for. */
export interface Wish {
  readonly key: string;
  readonly namespace: string;
}

export interface ClaimRules {
  readonly nowMs: number;
  /** Keys of a namespace at most. What is held already stays where the bound is lowered. */
  readonly most: number;
  /** After which a claim that nothing needs ends; undefined: never. */
  readonly releaseMs: number | undefined;
  /** Of a key that several ask for at once: the first wish has it, or nobody, since nobody knows who was first. */
  readonly together: 'first' | 'nobody';
  /** Whether at the bound the claim that was unused for longest makes room for a new one. */
  readonly givesWay: boolean;
}

/** `full`: the namespace has as many as it may. `doubtful`: others ask at the same moment. */
export type Verdict = 'held' | 'taken' | 'doubtful' | 'full';

export interface Decision {
  /** The claims of a namespace are the same object where nothing of them has changed. */
  readonly claims: AllClaims;
  /** Who holds a key now. */
  readonly holderOf: (key: string) => string | undefined;
  readonly verdictOf: (wish: Wish) => Verdict;
}

/** @param wishes in the order in which they count where `together` is `first` */
export function decideClaims(records: AllClaims, wishes: readonly Wish[], rules: ClaimRules): Decision {
  // A quarter of a million keys are looked at after each change: nothing is sorted or copied that stays as it is.
  const asked = new Map<string, string | Set<string>>();
  for (const { key, namespace } of wishes) {
    const known = asked.get(key);
    if (known === undefined) asked.set(key, namespace);
    else if (typeof known !== 'string') known.add(namespace);
    else if (known !== namespace) asked.set(key, new Set([known, namespace]));
  }
  const isAsked = (key: string, namespace: string): boolean => {
    const known = asked.get(key);
    return typeof known === 'object' ? known.has(namespace) : known === namespace;
  };
  const claims = new Map<string, Claims>(records);
  /** To change a record is to copy it first. */
  const own = (namespace: string): Map<string, Claim> => {
    const now = claims.get(namespace) ?? new Map<string, Claim>();
    if (now !== records.get(namespace)) return now as Map<string, Claim>;
    const copy = new Map(now);
    claims.set(namespace, copy);
    return copy;
  };
  const holders = new Map<string, string>();
  for (const [namespace, keys] of records) {
    for (const [key, claim] of keys) {
      const next = aged(claim, isAsked(key, namespace), rules);
      const rival = next && holders.get(key);
      // Two records of one key come of an administrator's hand: the older one counts.
      const isLast = rival !== undefined && !isOlder(claim, namespace, records.get(rival)?.get(key), rival);
      if (next === undefined || isLast) own(namespace).delete(key);
      else {
        if (rival !== undefined) own(rival).delete(key);
        if (next !== claim) own(namespace).set(key, next);
        holders.set(key, namespace);
      }
    }
  }
  const full = new Set<string>();
  for (const { key, namespace } of wishes) {
    if (holders.has(key) || (rules.together === 'nobody' && typeof asked.get(key) === 'object')) continue;
    const held = claims.get(namespace) ?? NONE;
    const gone = held.size < rules.most || !rules.givesWay ? undefined : longestUnused(held);
    if (held.size >= rules.most && gone === undefined) {
      full.add(idOf(key, namespace));
      continue;
    }
    if (gone !== undefined) {
      own(namespace).delete(gone);
      holders.delete(gone);
    }
    if (!claims.has(namespace)) claims.set(namespace, new Map());
    own(namespace).set(key, { sinceMs: rules.nowMs });
    holders.set(key, namespace);
  }
  for (const [namespace, { size }] of claims) if (size === 0) claims.delete(namespace);
  const verdictOf = ({ key, namespace }: Wish): Verdict => {
    const holder = holders.get(key);
    if (holder !== undefined) return holder === namespace ? 'held' : 'taken';
    return full.has(idOf(key, namespace)) ? 'full' : 'doubtful';
  };
  return { claims, holderOf: (key) => holders.get(key), verdictOf };
}

/** When the first of the claims ends that nothing needs; undefined: none does. */
export function nextRelease(claims: AllClaims, releaseMs: number | undefined): number | undefined {
  if (releaseMs === undefined) return undefined;
  let first: number | undefined;
  for (const own of claims.values())
    for (const { unusedMs } of own.values())
      if (unusedMs !== undefined) first = Math.min(first ?? Number.POSITIVE_INFINITY, unusedMs + releaseMs);
  return first;
}

/** The claim as it is from now on; undefined: it has ended. */
function aged(claim: Claim, isAsked: boolean, { nowMs, releaseMs }: ClaimRules): Claim | undefined {
  const { sinceMs, unusedMs } = claim;
  if (isAsked) return unusedMs === undefined ? claim : { sinceMs };
  if (unusedMs === undefined) return releaseMs === 0 ? undefined : { sinceMs, unusedMs: nowMs };
  return releaseMs !== undefined && nowMs - unusedMs >= releaseMs ? undefined : claim;
}

/** Of one second by namespace, so that every replica decides alike. */
function isOlder(claim: Claim, namespace: string, other: Claim | undefined, rival: string): boolean {
  const otherMs = other?.sinceMs ?? 0;
  return claim.sinceMs < otherMs || (claim.sinceMs === otherMs && namespace < rival);
}

function longestUnused(claims: Claims): string | undefined {
  const unused = [...claims].flatMap(([key, { unusedMs }]) => (unusedMs === undefined ? [] : [{ key, unusedMs }]));
  return unused.sort((a, b) => a.unusedMs - b.unusedMs || (a.key < b.key ? -1 : 1))[0]?.key;
}

const NONE: Claims = new Map();

/** Neither has a space. */
const idOf = (key: string, namespace: string): string => `${namespace} ${key}`;
