/** Access on every route: who asks, and what a refusal looks like. */
import type { IncomingMessage } from 'node:http';
import {
  type Access,
  ANYONE,
  authorize,
  type BinaryCache,
  CacheError,
  type Guarded,
  NO_CACHE,
  type Permission,
} from '../cache/index.ts';
import { credentialOf, NO_ACCESS, type StrangerAnswer, strangerAnswer } from '../wire/index.ts';

/** Whether a request may read nix's files. A stale token in someone's netrc must not stop a read of a public cache. */
export function readAccess(cache: Guarded | undefined, { headers }: IncomingMessage): Access {
  return cache?.isPublic ? ANYONE : authorize(cache ?? NO_CACHE, credentialOf(headers.authorization), 'Read');
}

/**
 * Whether somebody has nothing to do with the cache that an address names, and hears what all strangers hear. Who holds a
 * token of the cache that has expired or may do too little is none.
 */
export function isStranger(cache: Guarded | undefined, request: IncomingMessage): boolean {
  const access = readAccess(cache, request);
  return !access.allowed && access.why !== 'refused';
}

/** @param path inside the cache, decoded */
export function answerToStranger(request: IncomingMessage, path: string, isApi: boolean): StrangerAnswer {
  const { method = 'GET', headers } = request;
  return strangerAnswer({ method, path, isApi, hasCredential: credentialOf(headers.authorization) !== undefined });
}

/** Whether what a request asks for is asked for by somebody who may push. */
export function mayWrite(cache: Guarded, { headers }: IncomingMessage): boolean {
  return authorize(cache, credentialOf(headers.authorization), 'Write').allowed;
}

/** Lets a request of the API or a write through, or throws what it is answered with. @throws CacheError Unauthorized */
export function demand(
  cache: BinaryCache | undefined,
  request: IncomingMessage,
  needed: Permission,
): Extract<Access, { allowed: true }> {
  return admit(cache, cache ?? NO_CACHE, request, needed);
}

/**
 * The same for what lists things of a cache: that needs a token also where everybody may read, and who has none hears what
 * strangers of a private cache hear. @throws CacheError Unauthorized
 */
export function demandToken(
  cache: BinaryCache | undefined,
  request: IncomingMessage,
  needed: Permission,
): Extract<Access, { allowed: true }> {
  return admit(cache, { isPublic: false, tokens: (cache ?? NO_CACHE).tokens }, request, needed);
}

/** @param guarded by what the cache is guarded here */
function admit(
  cache: BinaryCache | undefined,
  guarded: Guarded,
  { headers }: IncomingMessage,
  needed: Permission,
): Extract<Access, { allowed: true }> {
  const access = authorize(guarded, credentialOf(headers.authorization), needed);
  if (access.allowed) return access;
  if (cache === undefined || (!guarded.isPublic && access.why !== 'refused'))
    throw new CacheError('Unauthorized', NO_ACCESS.text);
  throw new CacheError('Unauthorized', `cache ${cache.name}: ${access.text}`);
}
