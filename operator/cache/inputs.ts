import type { Held } from './held.ts';
import type { Leftover } from './token-secrets.ts';

/** What the objects of a cache follow from, beside the cache itself. */
export interface Inputs {
  /** Image of the server, where the cache names none. */
  readonly image: string;
  /** URL of the gateway, `https://cache.example.org`, where this cache has its public name. */
  readonly apiUrl: string | undefined;
  /** Addresses and networks whose X-Forwarded-* headers the servers believe. */
  readonly trustedProxies: readonly string[];
  /** Where the operator and the gateway run, for the NetworkPolicy. */
  readonly operatorNamespace: string;
  /** Hex SHA-256 of each token by its name. A token without one does not exist. */
  readonly tokenHashes: ReadonlyMap<string, string>;
  /** Secrets of tokens that are to be removed. */
  readonly leftovers: readonly Leftover[];
  /** What the pods keep mounted for now. */
  readonly held: Held;
  /** Optional kinds that the API server knows. */
  readonly served: { readonly httpRoute: boolean; readonly serviceMonitor: boolean };
}

/** Seconds that requests have when a pod stops. */
export const SHUTDOWN_GRACE = 100;
