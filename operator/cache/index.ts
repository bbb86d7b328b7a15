/** A BinaryCache in a cluster: observe, desired, plan, act, status. */

export type { Inputs } from './desired/index.ts';
export {
  admitRoutes,
  desired,
  type HostRule,
  isClientService,
  NOTHING_MOUNTED,
  operatorNamespaceOf,
  type RouteRules,
  serviceHost,
} from './desired/index.ts';
export { API_URL, MANAGER, namesOf, ROUTES_ANNOTATION, TRUSTED_PROXIES } from './names.ts';
export {
  askPod,
  cacheKeyOf,
  isReady,
  type Observed,
  observeOnce,
  type PublicName,
  Stores,
  type TokenRefusal,
  TokenWatch,
} from './observe/index.ts';
export { plan, type Step } from './plan/index.ts';
export { type CacheSettings, Reconciler } from './reconcile.ts';
export { Secrets } from './secrets/index.ts';
export { BINARY_CACHE, type Cache } from './types.ts';
