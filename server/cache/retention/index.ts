export type { CollectionRow, CollectionState } from './collections.ts';
export type { Taken } from './listing.ts';
export { type CollectionReport, type DryRun, Retention, statusOf } from './retention.ts';
