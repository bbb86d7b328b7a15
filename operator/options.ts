/** What the operator is started with. Read from argv and the environment in cli.ts, nowhere else. */

import type { HostRule } from './cache/index.ts';

export interface OperatorOptions {
  /** Image of the servers, where a cache names none. */
  readonly image: string;
  /** URL of the gateway; undefined: there is none. */
  readonly apiUrl: string | undefined;
  /** Where the operator itself runs. */
  readonly namespace: string;
  /** Name of this process among the replicas. */
  readonly identity: string;
  /** Namespaces whose caches are looked after; empty: all. */
  readonly watchNamespaces: readonly string[];
  /** Namespaces whose caches may have a public name; empty: all. */
  readonly gatewayNamespaces: readonly string[];
  readonly gatewaySelector: string;
  readonly namesConfigMap: string;
  /** Public names that a namespace may have, and tokens that the gateway routes by. */
  readonly mostNames: number;
  readonly mostTokens: number;
  /** After which a name, or the digits of a token, that no cache has is free; undefined: never. */
  readonly releaseNamesMs: number | undefined;
  readonly releaseTokensMs: number;
  readonly routesConfigMap: string;
  readonly trustedProxies: readonly string[];
  /** Which hosts caches may take by an Ingress or an HTTPRoute. */
  readonly cacheHosts: readonly HostRule[];
  /** The annotations of RouteRules. */
  readonly ingressAnnotations: readonly string[];
  readonly lease: {
    readonly name: string;
    /** After so long a silence another process takes over. */
    readonly leaseMs: number;
    /** A leader that could not renew for this long gives up by itself. */
    readonly renewMs: number;
    readonly retryMs: number;
  };
  readonly listen: { readonly host: string | undefined; readonly port: number };
  readonly workers: number;
  readonly resyncMs: number;
  /** How long one look at a cache may take. */
  readonly reconcileTimeoutMs: number;
  /** The times of CacheSettings. */
  readonly pollMs: number;
  readonly steadyMs: number;
  readonly numbersMs: number;
  /** How long what was read of a Secret counts. */
  readonly secretsMs: number;
  /** In which each Secret of a token is looked at once, and how many a second at most. */
  readonly tokensMs: number;
  readonly tokensPerSecond: number;
  readonly serverTimeoutMs: number;
  readonly logLevel: string;
}
