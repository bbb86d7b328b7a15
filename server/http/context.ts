/** What handlers use, and what a koa handler finds in its context. */
import type Koa from 'koa';
import type { Logger } from 'pino';
import type { Caches } from '../cache/index.ts';
import type { Budget } from '../shares/index.ts';
import { hostnameOf, type Scheme, type Timeouts, type TrustedProxies } from '../wire/index.ts';
import type { Target } from './front.ts';
import type { Metrics } from './metrics.ts';
import type { PaceLimits } from './pace.ts';
import type { Reader } from './read.ts';
import type { Urls } from './urls.ts';

export interface Services {
  readonly caches: Caches;
  readonly urls: Urls;
  readonly reader: Reader;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly timeouts: Timeouts;
  readonly proxies: TrustedProxies;
  /** Slowest body that is taken. */
  readonly pace: PaceLimits;
  /** Places for the bodies of pushes. */
  readonly pushBodies: Budget;
  /** Bytes for bodies that are read as a whole: narinfos, queries, claims. */
  readonly bodyMemory: Budget;
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
export function arrival(services: Services, ctx: Context): [hostname: string, scheme: Scheme | undefined] {
  return [hostnameOf(ctx.get('host')), services.proxies.schemeOf(ctx.req)];
}
