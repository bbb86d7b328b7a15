/** What the doors share, and what a koa handler finds in its context. */
import type Koa from 'koa';
import type { Logger } from 'pino';
import type { Caches } from '../cache/index.ts';
import { hostnameOf } from './address.ts';
import type { Target } from './front.ts';
import type { Metrics } from './metrics.ts';
import type { Scheme, TrustedProxies } from './proxies.ts';
import type { Reader } from './read.ts';
import type { Turns } from './turns.ts';
import type { Urls } from './urls.ts';

export interface Timeouts {
  /** Until the headers of a request are there. */
  readonly headersMs: number;
  /** Without a byte of a request's body. */
  readonly idleBodyMs: number;
  /** Without a byte of an answer taken: a reader that stands still holds a file open. nix stalls for up to 300 s. */
  readonly idleResponseMs: number;
  /** Between two requests on a connection. cachix pools connections for 30 s, nix compresses for longer. */
  readonly keepAliveMs: number;
}

export const defaultTimeouts: Timeouts = {
  headersMs: 60_000,
  idleBodyMs: 60_000,
  idleResponseMs: 600_000,
  keepAliveMs: 75_000,
};

export interface Doors {
  readonly caches: Caches;
  readonly urls: Urls;
  readonly reader: Reader;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly timeouts: Timeouts;
  readonly proxies: TrustedProxies;
  /** Of the bodies of pushes. */
  readonly turns: Turns;
}

export interface State {
  target: Target;
  /** Name of the route for metrics. */
  route: string;
  /** Whether the reader of the hot routes answers. */
  handedOver: boolean;
}

export type Context = Koa.ParameterizedContext<State>;

/** How a request came to us: the host that it named, and the scheme where a trusted proxy tells. For `Urls`. */
export function arrival(doors: Doors, ctx: Context): [hostname: string, scheme: Scheme | undefined] {
  return [hostnameOf(ctx.get('host')), doors.proxies.schemeOf(ctx.req)];
}
