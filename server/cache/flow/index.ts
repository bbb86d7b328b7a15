export { inParallel } from './parallel.ts';
export { RateLimit } from './rate-limit.ts';
export { patiently } from './retry.ts';
export { soon } from './soon.ts';
