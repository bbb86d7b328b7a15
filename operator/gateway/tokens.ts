/**
 * Which namespace the gateway leads to by a token. Anyone may write the digits of somebody else's hash into a manifest,
 * which are no secret, and would be sent that token: so the namespace that had them first has them. Servers are not
 * asked: a cache takes its tokens at its own hosts, whoever else has them. Pure.
 */
import { mostTokens } from '../../crds/index.ts';
import { type Cache, ROUTES_ANNOTATION, type TokenRefusal } from '../cache/index.ts';
import type { ConfigMap } from '../runtime/index.ts';
import { type AllClaims, type ClaimRules, decideClaims, type Wish } from './claims.ts';
import { remembered } from './remembered.ts';

const DIGITS = /^[0-9a-f]{16}$/;

/**
 * The digits of a cache's tokens. Whoever may edit a namespace may edit the ConfigMap, so they are looked at, and no more
 * of them than a manifest lists: what is decided about all namespaces at once must not grow by one of them.
 */
export const digitsIn = remembered((config: ConfigMap): readonly string[] => {
  const words = (config.metadata.annotations?.[ROUTES_ANNOTATION] ?? '').split(',');
  return [...new Set(words.filter((word) => DIGITS.test(word)))].sort().slice(0, mostTokens);
});

/** Digits that the gateway does not route by to this cache, and why. */
export type Refusals = ReadonlyMap<string, TokenRefusal>;

/** @returns the records with the new claims, and what is refused to each cache by `namespace/name` */
export function decideTokens(
  records: AllClaims,
  digits: ReadonlyMap<Cache, readonly string[]>,
  rules: Pick<ClaimRules, 'nowMs' | 'most' | 'releaseMs'>,
): { readonly claims: AllClaims; readonly refused: ReadonlyMap<string, Refusals> } {
  const wishes: Wish[] = [];
  for (const [{ metadata }, own] of digits)
    for (const key of own) wishes.push({ key, namespace: metadata.namespace ?? '' });
  const { claims, verdictOf } = decideClaims(records, wishes, { ...rules, together: 'nobody', givesWay: true });
  const refused = new Map<string, Map<string, TokenRefusal>>();
  let next = 0;
  for (const [{ metadata }, own] of digits) {
    const verdicts = new Map<string, TokenRefusal>();
    const asked = wishes.slice(next, next + own.length);
    next += own.length;
    for (const wish of asked) {
      const verdict = verdictOf(wish);
      if (verdict !== 'held') verdicts.set(wish.key, verdict);
    }
    refused.set(`${metadata.namespace}/${metadata.name}`, verdicts);
  }
  return { claims, refused };
}
