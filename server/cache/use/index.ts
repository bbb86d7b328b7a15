export { LAST_USE, lastUseOf, USE_JOIN, usesSince } from './rows.ts';
export { type Marked, Uses } from './uses.ts';
