/**
 * Which namespace the gateway leads to by a token. Anyone may write the digits of somebody else's hash into a manifest,
 * which are no secret, and would be sent that token: so the namespace that had them first has them. Servers are not
 * asked: a cache takes its tokens at its own hosts, whoever else has them. Pure.
 */
import { type Cache, ROUTES_ANNOTATION, type TokenRefusal } from '../cache/index.ts';
import type { ConfigMap } from '../runtime/index.ts';
import { type AllClaims, type ClaimRules, decideClaims } from './claims.ts';

const DIGITS = /^[0-9a-f]{16}$/;

/** The digits of a cache's tokens. Whoever may edit a namespace may edit the ConfigMap, so they are looked at. */
export function digitsIn(config: ConfigMap): string[] {
  const words = (config.metadata.annotations?.[ROUTES_ANNOTATION] ?? '').split(',');
  return [...new Set(words.filter((word) => DIGITS.test(word)))];
}

/** Digits that the gateway does not route by to this cache, and why. */
export type Refusals = ReadonlyMap<string, TokenRefusal>;

/** @returns the records with the new claims, and what is refused to each cache by `namespace/name` */
export function decideTokens(
  records: AllClaims,
  digits: ReadonlyMap<Cache, readonly string[]>,
  rules: Pick<ClaimRules, 'nowMs' | 'most' | 'releaseMs'>,
): { readonly claims: AllClaims; readonly refused: ReadonlyMap<string, Refusals> } {
  const wishesOf = ({ metadata: { namespace = '' } }: Cache, own: readonly string[]) =>
    own.map((key) => ({ key, namespace }));
  const wishes = [...digits].flatMap(([cache, own]) => wishesOf(cache, own));
  const { claims, verdictOf } = decideClaims(records, wishes, { ...rules, together: 'nobody', givesWay: true });
  const refused = [...digits].map(([cache, own]) => {
    const verdicts = wishesOf(cache, own).flatMap((wish) => {
      const verdict = verdictOf(wish);
      return verdict === 'held' ? [] : [[wish.key, verdict] as const];
    });
    return [`${cache.metadata.namespace}/${cache.metadata.name}`, new Map(verdicts)] as const;
  });
  return { claims, refused: new Map(refused) };
}
