/** Public names, and the routing table of the gateway. */
export { MOST_NAMES, MOST_TOKENS } from './claim-texts.ts';
export { PublicNames, type PublicNamesInit } from './public-names.ts';
