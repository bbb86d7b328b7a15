/**
 * Routes as a table of patterns on the decoded path inside a cache. koa's router did the same at four times the cost
 * of koa itself (it composes a middleware chain for each request), which a push pays four times.
 */
import type { Context } from './context.ts';

/** Answers a request, or returns false to leave it to the next route. `params` are the groups of the pattern. */
export type Handler = (ctx: Context, ...params: string[]) => unknown;

export interface Route {
  /** Label in metrics and logs. */
  readonly name: string;
  /** GET stands for HEAD too; undefined: any. */
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | undefined;
  readonly pattern: RegExp;
  readonly handle: Handler;
}

/** Hands a request to the first route that takes it; whether one did. */
export async function dispatch(routes: readonly Route[], ctx: Context, path: string): Promise<boolean> {
  const method = ctx.method === 'HEAD' ? 'GET' : ctx.method;
  for (const route of routes) {
    if (route.method !== undefined && route.method !== method) continue;
    const match = route.pattern.exec(path);
    if (match === null) continue;
    ctx.state.route = route.name;
    if ((await route.handle(ctx, ...match.slice(1).map((group) => group ?? ''))) !== false) return true;
  }
  return false;
}
