export { LAST_USE, lastUseOf, USE_JOIN, useStatement, usesSince } from './rows.ts';
export { type Marked, Uses } from './uses.ts';
