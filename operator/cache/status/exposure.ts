/** Conditions of how clients reach a cache: its public name, its tokens at the gateway, its redirects. Pure. */
import { hostUrls, redirectTrouble, tokenDigits } from '../../../crds/index.ts';
import { gatewayUrl, hashesOf, hostNames, isOfRoutes } from '../desired/index.ts';
import type { PublicName, TokenRefusal } from '../observe/index.ts';
import * as reasons from '../reasons.ts';
import type { Cache } from '../types.ts';
import { condition, type Facts, type Finding, type NewCondition, yes } from './facts.ts';

export function exposed({ cache, inputs, observed }: Facts): NewCondition[] {
  const url = gatewayUrl(cache, inputs);
  const urls = url === undefined ? hostUrls(cache.spec) : [url];
  const finding = observed.publicName && publicNameFinding(cache, observed.publicName);
  const noRoute = observed.obstacles.find(isOfRoutes);
  if (!observed.publicName && !noRoute && urls.length === 0) return [];
  return [condition(reasons.EXPOSED, `pulls at ${urls.join(', ')}`, finding ?? noRoute)];
}

function publicNameFinding({ metadata }: Cache, { holder, isServed }: PublicName): Finding | undefined {
  if (holder === undefined) return { reason: reasons.GATEWAY_PENDING, message: 'the public name is not decided yet' };
  if (holder === 'nobody')
    return { reason: reasons.NAMESPACE_NOT_ALLOWED, message: 'the gateway serves no caches of this namespace' };
  if (holder === 'full')
    return {
      reason: reasons.TOO_MANY_NAMES,
      message: `the namespace ${metadata.namespace} has as many public names as it may; those of caches that are gone stay its own until an administrator releases them`,
    };
  if (holder !== 'this cache')
    return {
      reason: reasons.NAME_TAKEN,
      message: `the public name ${metadata.name} belongs to the namespace ${holder.namespace}; rename the cache, or have an administrator release the name`,
    };
  return isServed
    ? undefined
    : { reason: reasons.GATEWAY_PENDING, message: 'the gateway has not taken over the route yet' };
}

/** In the order in which they are told. Who the others are is nobody's business. */
const REFUSALS: readonly (readonly [TokenRefusal, reason: string, why: string])[] = [
  ['taken', reasons.TOKEN_TAKEN, 'another namespace had a token first whose hash begins alike'],
  ['doubtful', reasons.TOKEN_TAKEN, 'another namespace asks at the same moment for a token whose hash begins alike'],
  ['full', reasons.TOO_MANY_TOKENS, 'the gateway routes by as many tokens of this namespace as it may'],
];

export function tokensRouted({ cache, inputs, observed }: Facts): NewCondition[] {
  const { refused } = observed.publicName ?? {};
  if (!refused || refused.size === 0) return [];
  for (const [refusal, reason, why] of REFUSALS) {
    const names = [...hashesOf(cache, inputs)].flatMap(([name, hash]) =>
      refused.get(hash.slice(0, tokenDigits)) === refusal ? [name] : [],
    );
    if (names.length === 0) continue;
    const message = `what names no cache in its address is not led here by ${names.length === 1 ? 'the token' : 'the tokens'} ${names.join(', ')}, since ${why}; at its own hosts the cache takes ${names.length === 1 ? 'it' : 'them'}`;
    return [condition(reasons.TOKENS_ROUTED, '', { reason, message })];
  }
  return [];
}

export function redirected({ cache, inputs }: Facts): NewCondition[] {
  const hosts = hostNames(cache, inputs);
  const texts = cache.spec.storages.flatMap(({ name, s3 }) => {
    const text = s3 && redirectTrouble(s3, hosts);
    return text === undefined ? [] : [`storage ${name}: ${text}`];
  });
  return texts.length === 0 ? [] : [yes(reasons.TOKEN_FOLLOWS_REDIRECTS, reasons.SAME_HOST, texts.join('; '))];
}
