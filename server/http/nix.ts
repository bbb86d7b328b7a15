/**
 * Nix's own protocol. Reads work on the pull URL and below `/push`; writes only below `/push`, because a pusher keeps
 * the unsigned narinfo that it sent for 30 days under the URL that it pushed to, and would refuse its own path there.
 */
import { CacheError } from '../cache/index.ts';
import { FormatError, isHashPart, parseCacheInfo, renderCacheInfo, STORE_DIR } from '../nix/index.ts';
import { demand, readAccess } from './access.ts';
import { type Auxiliary, auxiliaryOf } from './auxiliary.ts';
import { type BodyLimits, bodyLimits, bodyOf, declaredBytes, drain, plainLimits, readWhole } from './body.ts';
import { checkedBody } from './checked-body.ts';
import { arrival, type Context, type Services, type State } from './context.ts';
import { askerAt } from './read.ts';
import type { Route } from './routes.ts';

const PUSH = '/push';

/** Routes inside a cache, for its own host and for `/api/v1/cache/<cache>` alike. */
export function nixRoutes(services: Services): Route[] {
  const routes: Route[] = [];
  const { push, small } = bodyLimits(services);
  const plain = plainLimits(services).small;

  routes.push({
    name: 'nix-cache-info',
    method: undefined,
    pattern: /^(?:\/push)?\/nix-cache-info$/,
    handle: async (ctx) => {
      const { cache } = ctx.state.target;
      if (isRead(ctx)) {
        if (cache === undefined) throw new CacheError('NotFound', 'no such cache');
        if (!cache.isPublic) demand(cache, ctx.req, 'Read');
        ctx.type = 'text/x-nix-cache-info';
        ctx.body = renderCacheInfo({ priority: cache.resolved.priority });
        return;
      }
      demandWrite(ctx, services);
      const text = (await readWhole(ctx.req, ctx.res, { ...small, maxBytes: 64 * 1024 })).toString('utf8');
      const { storeDir } = parseCacheInfo(text);
      if (storeDir !== STORE_DIR) throw new CacheError('Conflict', `this cache is for ${STORE_DIR}, not ${storeDir}`);
      ctx.body = '';
    },
  });

  routes.push({
    name: 'narinfo',
    method: undefined,
    pattern: /^(?:\/push)?\/([^/]+)\.narinfo$/,
    handle: async (ctx, hashPart = '') => {
      if (isRead(ctx)) {
        const asker = askerAt(ctx.state.target.path);
        return read(ctx, (cache) => services.reader.narinfo(cache, hashPart, asker, ctx.req, ctx.res));
      }
      const cache = demandWrite(ctx, services);
      if (!isHashPart(hashPart))
        throw new CacheError('Invalid', 'a narinfo is called <32 characters of nix32>.narinfo');
      const body = await readWhole(ctx.req, ctx.res, { ...small, maxBytes: cache.resolved.limits.maxNarInfoBytes });
      const leftOut = await cache.nars.publishNarinfo(hashPart, body.toString('latin1'));
      ctx.body = leftOut.length === 0 ? '' : toldOf(leftOut);
    },
  });

  routes.push({
    name: 'nar',
    method: undefined,
    pattern: /^(?:\/push)?\/nar\/([^/]+)$/,
    handle: async (ctx, file = '') => {
      if (isRead(ctx))
        return read(ctx, (cache) =>
          services.reader.object(cache, `nar/${file}`, 'nar', 'application/x-nix-nar', ctx.req, ctx.res),
        );
      const cache = demandWrite(ctx, services);
      cache.nars.parseFile(file);
      const body = bodyOf(ctx.req, ctx.res, push);
      await cache.nars.put(file, body, declaredBytes(ctx.req));
      // Where the NAR was here already its bytes were not looked at.
      await drain(body, cache.resolved.settings.maxNarBytes);
      ctx.body = '';
    },
  });

  routes.push({
    name: 'auxiliary',
    method: undefined,
    pattern: /^(?:\/push)?\/(.+)$/,
    handle: async (ctx, path = '') => {
      const auxiliary = logWithQuery(ctx, path) ?? auxiliaryOf(path);
      if (auxiliary === undefined) return false;
      ctx.state.route = auxiliary.route;
      const { key, contentType, realisation, checker, hashPart } = auxiliary;
      if (isRead(ctx))
        return read(ctx, (cache) =>
          realisation === undefined
            ? services.reader.object(cache, key, 'aux', contentType, ctx.req, ctx.res)
            : services.reader.realisation(cache, key, realisation, ctx.req, ctx.res),
        );
      if (await isEcho(ctx, auxiliary, plain)) {
        ctx.body = '';
        return;
      }
      const cache = demandWrite(ctx, services);
      const maxBytes = auxiliary.limit(cache.resolved.settings);
      // A log may be as long as a build takes.
      const timed = { ...push, maxBytes, totalMs: auxiliary.route === 'log' ? undefined : small.totalMs };
      if (realisation !== undefined)
        await cache.realisations.put(key, realisation, await readWhole(ctx.req, ctx.res, { ...small, maxBytes }));
      else {
        if (hashPart !== undefined) await cache.blocks.mustTake(hashPart);
        const body = bodyOf(ctx.req, ctx.res, timed);
        const limits = { maxBytes, declaredBytes: declaredBytes(ctx.req) };
        await cache.objects.put(key, checker === undefined ? body : checkedBody(body, checker()), limits);
      }
      ctx.body = '';
    },
  });

  return routes;
}

/** What a client hears of a success that is not whole: nix shows it to nobody, a person with curl reads it. */
function toldOf(leftOut: readonly string[]): string {
  const names = [...new Set(leftOut.map((signature) => signature.slice(0, signature.indexOf(':'))))];
  const shown = names.slice(0, SHOWN_NAMES).map((name) => name.slice(0, 60));
  return `published; ${leftOut.length} signatures by keys that this cache does not know found no room: ${shown.join(', ')}${names.length > shown.length ? ', ...' : ''}\n`;
}

const SHOWN_NAMES = 10;

function isRead(ctx: Context): boolean {
  return ctx.method === 'GET' || ctx.method === 'HEAD';
}

/** nix before 2.32 sends the `?` of a derivation's name as it is, so that half of the name arrives as a query. */
function logWithQuery(ctx: Context, path: string): Auxiliary | undefined {
  return path.startsWith('log/') && ctx.querystring !== '' ? auxiliaryOf(`${path}?${ctx.querystring}`) : undefined;
}

/** Hands over to a hot route, which answers on the bare response. */
function read(ctx: Context, serve: (cache: NonNullable<State['target']['cache']>) => void): void {
  const { cache } = ctx.state.target;
  if (cache === undefined) throw new CacheError('NotFound', 'no such cache');
  ctx.respond = false;
  ctx.state.handedOver = true;
  serve(cache);
}

/**
 * nix 2.34 writes a realisation back to where it has just read it, before it copies the output, and ends where it may not:
 * one that says nothing new is answered as if it had been written, to whoever may read it. Encoded it is not possible, as no
 * nix sends it: who may only read gets none of the decoders.
 */
async function isEcho(ctx: Context, { key, realisation, limit }: Auxiliary, limits: BodyLimits): Promise<boolean> {
  const { cache, path } = ctx.state.target;
  if (realisation === undefined || cache === undefined || ctx.method !== 'PUT' || path.startsWith(`${PUSH}/`))
    return false;
  if (!readAccess(cache, ctx.req).allowed || !(await cache.realisations.has(key))) return false;
  const body = await readWhole(ctx.req, ctx.res, { ...limits, maxBytes: limit(cache.resolved.settings) });
  // What is no realisation is a write like any other: whether one may write here comes first.
  return cache.realisations.isServed(key, realisation, body).catch(notIfMalformed);
}

function notIfMalformed(error: unknown): false {
  if (error instanceof FormatError) return false;
  throw error;
}

/** Everything about a write that needs no body. @throws CacheError */
function demandWrite(ctx: Context, services: Services): NonNullable<State['target']['cache']> {
  const { cache, path } = ctx.state.target;
  if (ctx.method !== 'PUT')
    throw new CacheError('WrongMethod', `${ctx.method} is not possible here; nix uses GET, HEAD and PUT`);
  if (cache === undefined) throw new CacheError('NotFound', 'no such cache');
  demand(cache, ctx.req, 'Write');
  if (!path.startsWith(`${PUSH}/`)) {
    const url = `${services.urls.cache(cache.name, ...arrival(services, ctx))}${PUSH}?compression=zstd`;
    throw new CacheError('WrongMethod', `this URL is for pulling only; push with: nix copy --to '${url}' PATH`);
  }
  return cache;
}
