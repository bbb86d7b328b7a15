/**
 * The Cachix API of one cache, below `/api/v1/cache/<cache>`. The client takes exactly 200 for success and needs
 * `application/json` on what it parses; everything else about it is in docs/protocol-cachix.md.
 */
import { type BinaryCache, CacheError, type Permission, parseNarInfoCreate } from '../cache/index.ts';
import { compressionOfCachixQuery, isHashPart } from '../nix/index.ts';
import { openapi } from '../wire/index.ts';
import { demand, mayWrite } from './access.ts';
import { bodyOf, declaredBytes, plainLimits, readJson, readWhole } from './body.ts';
import { arrival, type Context, type Services } from './context.ts';
import { HashList } from './hash-list.ts';
import type { Route } from './routes.ts';

/** 65 536 hashes of 32 characters with quotes and commas are 2.3 MiB. */
const BULK_BYTES_PER_HASH = 64;
const KEY_JSON_BYTES = 64 * 1024;
/** A path with some thousand references. */
const CLAIM_JSON_BYTES = 1024 * 1024;

/** Routes whose path is inside the cache. */
export function cachixRoutes(services: Services): Route[] {
  const routes: Route[] = [];
  const { push, small } = plainLimits(services);

  routes.push({
    name: 'cache-info',
    method: 'GET',
    pattern: /^\/$/,
    handle: (ctx) => {
      const cache = cacheOf(ctx);
      const { permission } = demand(cache, ctx.req, 'Read');
      ctx.body = {
        name: cache.name,
        uri: services.urls.cache(cache.name, ...arrival(services, ctx)),
        isPublic: cache.isPublic,
        publicSigningKeys: cache.keys.publicKeys(),
        githubUsername: '',
        permission: permission ?? 'Read',
        preferredCompressionMethod: cache.resolved.compression === 'xz' ? 'XZ' : 'ZSTD',
      };
    },
  });

  routes.push({
    name: 'missing-paths',
    method: 'POST',
    pattern: /^\/narinfo$/,
    handle: async (ctx) => {
      const cache = allowed(ctx, 'Read');
      const { maxQueryHashes } = cache.resolved.limits;
      const list = new HashList(maxQueryHashes);
      await readWhole(ctx.req, ctx.res, {
        ...small,
        maxBytes: maxQueryHashes * BULK_BYTES_PER_HASH,
        look: (piece) => list.write(piece),
      });
      const missing = await cache.paths.missing(list.end());
      // Who may push is about to push what is missing: what was retired need not be sent again.
      const revived = new Set(mayWrite(cache, ctx.req) ? await cache.paths.revive(missing) : []);
      sendJson(ctx, revived.size === 0 ? missing : missing.filter((hashPart) => !revived.has(hashPart)));
    },
  });

  routes.push({
    name: 'narurl',
    method: 'GET',
    pattern: /^\/narurl\/([^/]+)$/,
    handle: async (ctx, file) => {
      const cache = allowed(ctx, 'Read');
      const key = `nar/${file}`;
      const object = await cache.objects.find(key);
      if (object === undefined) throw new CacheError('NotFound', 'not found');
      cache.uses.touchNar(object.id);
      sendJson(ctx, `${services.urls.cacheByPath(cache.name, ...arrival(services, ctx))}/${key}`);
    },
  });

  routes.push({
    name: 'key',
    method: 'POST',
    pattern: /^\/key$/,
    handle: async (ctx) => {
      const cache = allowed(ctx, 'Admin');
      const body = await readJson(ctx.req, ctx.res, { ...small, maxBytes: KEY_JSON_BYTES });
      const publicKey = isRecord(body) ? body.publicKey : undefined;
      if (typeof publicKey !== 'string') throw new CacheError('Invalid', 'publicKey: expected the base64 of 32 bytes');
      await cache.registerKey(publicKey);
      ctx.body = '';
    },
  });

  // Clients up to 1.2: the NAR in one request, its claims in a second one.
  routes.push({
    name: 'legacy-nar',
    method: 'POST',
    pattern: /^\/nar$/,
    handle: async (ctx) => {
      const cache = allowed(ctx, 'Write');
      const value = ctx.query.compression;
      const compression = compressionOfCachixQuery(typeof value === 'string' ? value : 'xz');
      if (compression === undefined) throw new CacheError('Invalid', 'compression: expected xz or zst');
      await cache.nars.putUnnamed(bodyOf(ctx.req, ctx.res, push), compression, declaredBytes(ctx.req));
      ctx.body = '';
    },
  });

  routes.push({
    name: 'legacy-narinfo',
    method: 'POST',
    pattern: /^\/([^/]+)\.narinfo$/,
    handle: async (ctx, hashPart = '') => {
      const cache = allowed(ctx, 'Write');
      const claim = parseNarInfoCreate(await readJson(ctx.req, ctx.res, { ...small, maxBytes: CLAIM_JSON_BYTES }));
      if (!isHashPart(hashPart) || claim.hashPart !== hashPart)
        throw new CacheError('Invalid', 'cStoreHash is not the hash in the URL');
      await cache.nars.publishClaim(claim);
      ctx.body = '';
    },
  });

  return routes;
}

/** Routes of the API that belong to no cache. */
export function userRoutes(services: Services): Route[] {
  const routes: Route[] = [];
  /** The self-test of a token: it is good if some cache here knows it. */
  routes.push({
    name: 'user',
    method: 'GET',
    pattern: /^\/api\/v1\/user$/,
    handle: (ctx) => {
      for (const cache of services.caches.list()) {
        const known = knownToken(cache, ctx);
        if (known !== undefined) {
          ctx.body = { name: known, githubUsername: '' };
          return;
        }
      }
      throw new CacheError('Unauthorized', 'no cache here knows this token');
    },
  });
  routes.push({
    name: 'openapi',
    method: 'GET',
    pattern: /^\/api\/v1\/openapi\.yaml$/,
    handle: (ctx) => {
      const { type, body } = openapi();
      ctx.type = type;
      ctx.body = body;
    },
  });
  return routes;
}

/** Name of the request's token, if this cache knows it. */
export function knownToken(cache: BinaryCache, ctx: Context): string | undefined {
  try {
    return demand(cache, ctx.req, 'Read').token;
  } catch {
    return undefined;
  }
}

/** The cache of the request, once the credential allows what is needed. */
export function allowed(ctx: Context, needed: Permission): BinaryCache {
  const cache = cacheOf(ctx);
  demand(cache, ctx.req, needed);
  return cache;
}

/** @throws CacheError NotFound */
export function cacheOf(ctx: Context): BinaryCache {
  const { cache } = ctx.state.target;
  if (cache === undefined) throw new CacheError('NotFound', 'no such cache');
  return cache;
}

/** koa would leave the type of a JSON text open; the client refuses what is not application/json. */
export function sendJson(ctx: Context, value: unknown): void {
  ctx.type = 'application/json; charset=utf-8';
  ctx.body = JSON.stringify(value);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
