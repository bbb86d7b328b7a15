/** Access on every route: who asks, and what a refusal looks like. */
import type { IncomingMessage } from 'node:http';
import { type Access, authorize, type BinaryCache, CacheError, type Permission } from '../cache/index.ts';
import { tokenOf } from '../wire/index.ts';

/** What may read a cache's files: the hot routes ask this too. */
export function accessOf(cache: BinaryCache, request: IncomingMessage, needed: Permission): Access {
  const header = request.headers.authorization;
  // Nothing to look at: the usual read of a public cache.
  if (header === undefined && needed === 'Read' && cache.isPublic) return ANYONE;
  return authorize(cache, tokenOf(header), needed);
}

const ANYONE: Access = { allowed: true, token: undefined, permission: undefined };

/**
 * Lets a request through or throws what it is answered with. A private cache hides its files from strangers as a miss
 * (nix 2.35 ends a build on 401); a wrong credential is told so everywhere.
 */
export function demand(
  cache: BinaryCache | undefined,
  request: IncomingMessage,
  needed: Permission,
  hide: boolean,
): Extract<Access, { allowed: true }> {
  if (cache === undefined) throw new CacheError('NotFound', 'no such cache');
  const access = accessOf(cache, request, needed);
  if (access.allowed) return access;
  if (hide && access.why === 'anonymous') throw new CacheError('NotFound', 'not found');
  throw new CacheError('Unauthorized', `cache ${cache.name}: ${access.text}`);
}
