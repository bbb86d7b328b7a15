/** The koa application: every route but the hot ones. */
import Koa from 'koa';
import { CacheError } from '../cache/index.ts';
import { asCaller } from '../shares/index.ts';
import { decodePath, linger, rawPath, requestIdOf, sendText, sendToStranger } from '../wire/index.ts';
import { answerToStranger, isStranger } from './access.ts';
import { closeBody } from './body.ts';
import { cachixRoutes, userRoutes } from './cachix.ts';
import type { Context, Services, State } from './context.ts';
import { doorRoutes } from './door.ts';
import { doors } from './doors.ts';
import { answerOf } from './errors.ts';
import type { Front } from './front.ts';
import { nixRoutes } from './nix.ts';
import { trace } from './request-log.ts';
import { dispatch } from './routes.ts';
import { callerOf } from './share.ts';
import { isPart, uploadRoutes } from './uploads.ts';

export function createApp(services: Services, front: Front): Koa<State> {
  const app = new Koa<State>();
  app.silent = true;
  app.use(answer(services));
  app.use(route(services, front));
  return app;
}

/** Outermost: ids, logs, and errors to answers. */
function answer(services: Services): Koa.Middleware<State> {
  const { logger, metrics } = services;
  return async (ctx, next) => {
    const requestId = requestIdOf(ctx.req);
    ctx.set('X-Request-Id', requestId);
    const route = () => ctx.state.route ?? 'other';
    if (logger.isLevelEnabled('debug')) trace(services, requestId, route, ctx.req, ctx.res);
    try {
      await next();
    } catch (error) {
      const known = answerOf(error);
      if (known === undefined || known.status >= 500)
        logger.error({ err: error, requestId, route: ctx.state.route }, 'request failed');
      ctx.respond = false;
      if (ctx.res.headersSent) ctx.res.destroy();
      else {
        sendText(ctx.req, ctx.res, known ?? { status: 500, text: 'internal error' });
        linger(ctx.req, ctx.res);
      }
    } finally {
      closeBody(ctx.req);
      // What was handed over to the reader is answered and counted there, perhaps later.
      if (!ctx.state.handedOver) metrics.answered(route(), ctx.res.statusCode);
    }
  };
}

/** Finds the cache and the route by the decoded path inside it. */
function route(services: Services, front: Front): Koa.Middleware<State> {
  const nix = nixRoutes(services);
  const inCache = [...cachixRoutes(services), ...uploadRoutes(services), ...doorRoutes(services, doors), ...nix];
  const user = userRoutes(services);
  return async (ctx) => {
    const path = decodePath(rawPath(ctx.req.url ?? '/'));
    if (path === undefined) throw new CacheError('NotFound', 'not found');
    const target = front.resolve(ctx.get('host'), path);
    ctx.state.target = target;
    if (await dispatch(user, ctx, path)) return;
    if (target.isNamed && !isPart(ctx.method, target) && isStranger(target.cache, ctx.req)) {
      ctx.respond = false;
      sendToStranger(ctx.req, ctx.res, answerToStranger(ctx.req, target.path, target.api));
      linger(ctx.req, ctx.res);
      return;
    }
    // A cache that leaves the manifests closes only after its requests.
    const release = target.cache?.enter();
    try {
      const caller = callerOf(ctx.req, target.cache?.name, services.proxies);
      const work = () => dispatch(target.api ? inCache : nix, ctx, target.path);
      if (!(await asCaller(caller, work))) nothing(ctx);
    } finally {
      release?.();
    }
  };
}

function nothing(ctx: Context): void {
  if (ctx.method !== 'GET' && ctx.method !== 'HEAD' && ctx.method !== 'PUT' && ctx.method !== 'POST') {
    throw new CacheError('WrongMethod', `${ctx.method} is not possible here`);
  }
  throw new CacheError('NotFound', 'not found');
}
