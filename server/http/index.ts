export { type AdminInit, AdminServer, redirectTroubles } from './admin.ts';
export type { Doors } from './context.ts';
export { ControlServer, controlSocket } from './control.ts';
export { askForCheck } from './control-client.ts';
export { Metrics } from './metrics.ts';
export type { PaceLimits } from './pace.ts';
export { Reader } from './read.ts';
export { type CacheListen, HttpServer } from './server.ts';
export { Urls } from './urls.ts';
