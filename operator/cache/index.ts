/** A BinaryCache in a cluster: observe, desired, plan, act, status. */
export { serviceHost } from './addresses.ts';
export { desired } from './desired.ts';
export type { Inputs } from './inputs.ts';
export { NOTHING_HELD } from './inputs.ts';
export { API_URL, MANAGER, namesOf, ROUTES_ANNOTATION, TRUSTED_PROXIES } from './names.ts';
export { operatorNamespaceOf } from './network.ts';
export { observeOnce } from './observe-once.ts';
export { isReady, type Observed, type PublicName, type TokenRefusal } from './observed.ts';
export { plan, type Step } from './plan.ts';
export { type CacheSettings, Reconciler } from './reconcile.ts';
export { admitRoutes, type HostRule, type RouteRules } from './routes.ts';
export { Secrets } from './secrets.ts';
export { askPod } from './servers.ts';
export { isClientService } from './services.ts';
export { cacheKeyOf, Stores } from './stores.ts';
export { TokenWatch } from './token-watch.ts';
export { BINARY_CACHE, type Cache } from './types.ts';
