export { type AdminInit, AdminServer } from './admin.ts';
export { type Doors, defaultTimeouts, type Timeouts } from './context.ts';
export { hostPort, type Listen } from './listen.ts';
export { Metrics } from './metrics.ts';
export { TrustedProxies } from './proxies.ts';
export { Reader } from './read.ts';
export { type CacheListen, HttpServer } from './server.ts';
export { Turns } from './turns.ts';
export { Urls } from './urls.ts';
