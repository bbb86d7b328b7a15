export { type AdminInit, AdminServer } from './admin.ts';
export { type Doors, defaultTimeouts, type Timeouts } from './context.ts';
export { Metrics } from './metrics.ts';
export { Reader } from './read.ts';
export { HttpServer, type Listen } from './server.ts';
export { Urls } from './urls.ts';
