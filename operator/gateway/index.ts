/** Public names, and the routing table of the gateway. */
export { PublicNames, type PublicNamesInit } from './public-names.ts';
