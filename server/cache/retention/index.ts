export type { CollectionRow, CollectionState } from './collections.ts';
export { type Deleted, type Deletion, deletePath } from './deletion.ts';
export { type Explained, type Explanation, explain } from './explain.ts';
export type { Taken } from './listing.ts';
export { type CollectionReport, type DryRun, Retention, statusOf } from './retention.ts';
