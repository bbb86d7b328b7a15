export { LAST_USE, lastUseOf, USE_JOIN, useStatement, usesSince } from './rows.ts';
export { isDue, Uses } from './uses.ts';
