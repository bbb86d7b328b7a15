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
  readonly claims: AllClaims;
  /** Who holds a key now. */
  readonly holderOf: (key: string) => string | undefined;
  readonly verdictOf: (wish: Wish) => Verdict;
}

/** @param wishes in the order in which they count where `together` is `first` */
export function decideClaims(records: AllClaims, wishes: readonly Wish[], rules: ClaimRules): Decision {
  const asked = new Map<string, Set<string>>();
  for (const { key, namespace } of wishes) asked.set(key, (asked.get(key) ?? new Set()).add(namespace));
  const claims = new Map<string, Map<string, Claim>>();
  const holders = new Map<string, string>();
  for (const [namespace, key, claim] of inOrder(records)) {
    // Two records of one key come of an administrator's hand: the older one counts.
    if (holders.has(key)) continue;
    const next = aged(claim, asked.get(key)?.has(namespace) ?? false, rules);
    if (!next) continue;
    holders.set(key, namespace);
    claimsOf(claims, namespace).set(key, next);
  }
  const full = new Set<string>();
  for (const { key, namespace } of wishes) {
    if (holders.has(key) || (rules.together === 'nobody' && (asked.get(key)?.size ?? 0) > 1)) continue;
    const own = claimsOf(claims, namespace);
    const gone = own.size < rules.most ? undefined : rules.givesWay ? longestUnused(own) : undefined;
    if (own.size >= rules.most && gone === undefined) {
      full.add(idOf(key, namespace));
      continue;
    }
    if (gone !== undefined) {
      own.delete(gone);
      holders.delete(gone);
    }
    own.set(key, { sinceMs: rules.nowMs });
    holders.set(key, namespace);
  }
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
  for (const [, , { unusedMs }] of entries(claims))
    if (unusedMs !== undefined) first = Math.min(first ?? Number.POSITIVE_INFINITY, unusedMs + releaseMs);
  return first;
}

function aged(claim: Claim, isAsked: boolean, { nowMs, releaseMs }: ClaimRules): Claim | undefined {
  const { sinceMs, unusedMs = nowMs } = claim;
  if (isAsked) return { sinceMs };
  return releaseMs !== undefined && nowMs - unusedMs >= releaseMs ? undefined : { sinceMs, unusedMs };
}

function longestUnused(claims: Claims): string | undefined {
  const unused = [...claims].flatMap(([key, { unusedMs }]) => (unusedMs === undefined ? [] : [{ key, unusedMs }]));
  return unused.sort((a, b) => a.unusedMs - b.unusedMs || (a.key < b.key ? -1 : 1))[0]?.key;
}

/** All claims, the older before the younger; of one second by namespace, so that every replica decides alike. */
function inOrder(records: AllClaims): [namespace: string, key: string, claim: Claim][] {
  return [...entries(records)].sort(([a, , x], [b, , y]) => x.sinceMs - y.sinceMs || (a < b ? -1 : a > b ? 1 : 0));
}

function* entries(claims: AllClaims): Generator<[namespace: string, key: string, claim: Claim]> {
  for (const [namespace, own] of claims) for (const [key, claim] of own) yield [namespace, key, claim];
}

function claimsOf(claims: Map<string, Map<string, Claim>>, namespace: string): Map<string, Claim> {
  const own = claims.get(namespace) ?? new Map<string, Claim>();
  claims.set(namespace, own);
  return own;
}

/** Neither has a space. */
const idOf = (key: string, namespace: string): string => `${namespace} ${key}`;
