export { type AdminInit, AdminServer } from './admin.ts';
export type { Doors } from './context.ts';
export { Metrics } from './metrics.ts';
export type { PaceLimits } from './pace.ts';
export { Reader } from './read.ts';
export { type CacheListen, HttpServer } from './server.ts';
export { Urls } from './urls.ts';
