/** What the doors share, and what a koa handler finds in its context. */
import type Koa from 'koa';
import type { Logger } from 'pino';
import type { Caches } from '../cache/index.ts';
import type { Target } from './front.ts';
import type { Metrics } from './metrics.ts';
import type { Reader } from './read.ts';
import type { Urls } from './urls.ts';

export interface Timeouts {
  /** Until the headers of a request are there. */
  readonly headersMs: number;
  /** Without a byte of a body, in either direction. */
  readonly idleBodyMs: number;
  /** Between two requests on a connection. cachix pools connections for 30 s, nix compresses for longer. */
  readonly keepAliveMs: number;
}

export const defaultTimeouts: Timeouts = { headersMs: 60_000, idleBodyMs: 60_000, keepAliveMs: 75_000 };

export interface Doors {
  readonly caches: Caches;
  readonly urls: Urls;
  readonly reader: Reader;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly timeouts: Timeouts;
  /** Addresses and networks whose X-Forwarded-For counts. */
  readonly trustedProxies: readonly string[];
}

export interface State {
  target: Target;
  /** Name of the route for metrics. */
  route: string;
}

export type Context = Koa.ParameterizedContext<State>;
