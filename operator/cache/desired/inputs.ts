import type { Obj } from '../../runtime/index.ts';
import type { MountedSecret } from './secret-needs.ts';

/** What pods keep mounted although the manifest has nothing for it any more. */
export interface StillMounted {
  /** Names of storages. */
  readonly storages: readonly string[];
  readonly secrets: readonly MountedSecret[];
}

export const NOTHING_MOUNTED: StillMounted = { storages: [], secrets: [] };

/** The Secret of a token that is no longer listed, or was taken out before it was listed again. */
export interface Leftover {
  readonly token: string;
  readonly object: Obj;
  /** The manifest names it for something else: it stays for as long as that is so. */
  readonly isNamed: boolean;
}

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
  readonly stillMounted: StillMounted;
  /** Optional kinds that the API server knows. */
  readonly served: { readonly httpRoute: boolean; readonly serviceMonitor: boolean };
}

/** Seconds that requests have when a pod stops. */
export const SHUTDOWN_GRACE = 100;
