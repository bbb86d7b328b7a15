export { type ObserveInit, observe } from './observe.ts';
export { childKey, isReady, type Observed, type PublicName, type TokenRefusal } from './observed.ts';
export { observeOnce } from './once.ts';
export { askPod } from './servers.ts';
export { stillMounted } from './still-mounted.ts';
export { cacheKeyOf, Stores } from './stores.ts';
export { TokenWatch } from './token-watch.ts';
