export { LAST_USE, lastUseOf, USE_JOIN, usesSince } from './rows.ts';
export { isDue, Uses } from './uses.ts';
