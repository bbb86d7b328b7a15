/**
 * Which Secrets of tokens there are to remove: a token that is listed again after it was taken out must not be the old
 * one. Only what the operator has made for this very cache is removed. Pure.
 */
import { parse } from 'yaml';
import type { AnyObj, Obj } from '../../runtime/index.ts';
import { CONFIG_FILE, cachesOwning, isOurs, TOKEN_SECRETS_ANNOTATION } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Leftover } from './inputs.ts';
import { secretNeeds } from './secret-needs.ts';

/** Whoever may edit the namespace may edit the annotation. */
const MOST = 256;
const ENTRY = /^([a-z0-9][-a-z0-9]{0,62})(?:=([-\w]{1,64}))?$/;

/** Tokens that may have left a Secret behind; with the uid of that Secret once it is known. */
export function leaving(cache: Cache, config: AnyObj | undefined): ReadonlyMap<string, string | undefined> {
  const listed = new Set((cache.spec.tokens ?? []).map(({ name }) => name));
  const text = config?.metadata.annotations?.[TOKEN_SECRETS_ANNOTATION] ?? namesIn(config).join(',');
  const entries = text.split(',').slice(0, MOST);
  return new Map(
    entries.flatMap((entry) => {
      const [, name, uid] = ENTRY.exec(entry) ?? [];
      return name !== undefined && (uid !== undefined || !listed.has(name)) ? [[name, uid] as const] : [];
    }),
  );
}

/** @param uid that the Secret must have; undefined: any */
export function leftoverOf(cache: Cache, token: string, uid: string | undefined, object: Obj | undefined): Leftover[] {
  const isMade = object && isOurs(cache, object) && cachesOwning(object).includes(cache.metadata.uid);
  if (!isMade || (uid !== undefined && uid !== object.metadata.uid)) return [];
  const isNamed = secretNeeds(cache).some((need) => !need.isGenerated && need.name === object.metadata.name);
  return [{ token, object, isNamed }];
}

/** Tokens in the manifest that an older version wrote, without the annotation. */
function namesIn(config: AnyObj | undefined): string[] {
  try {
    const text = (config?.data as Record<string, string> | undefined)?.[CONFIG_FILE] ?? '';
    return (parse(text) as { spec: { tokens: { name: string }[] } }).spec.tokens.map(({ name }) => name);
  } catch {
    return [];
  }
}

/**
 * The annotation: all tokens, since one that is given otherwise now may have had a Secret made for it, and what is left
 * over.
 */
export function tokenSecretsText({ spec }: Cache, leftovers: readonly Leftover[]): string {
  const entries = new Map<string, string>((spec.tokens ?? []).map(({ name }) => [name, name]));
  for (const { token, object } of leftovers) entries.set(token, `${token}=${object.metadata.uid}`);
  return [...entries.values()].sort().join(',');
}
