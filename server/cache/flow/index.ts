export { inParallel } from './parallel.ts';
export { RateLimit } from './rate-limit.ts';
export { withRetries } from './retry.ts';
export { soon } from './soon.ts';
export { Visits, within } from './visits.ts';
