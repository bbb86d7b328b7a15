export { type CheckReport, check, type Finding } from './check.ts';
export { Housekeeping } from './housekeeping.ts';
export { removeLeftovers } from './leftovers.ts';
export { Scrub } from './scrub.ts';
