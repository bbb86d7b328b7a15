export type { CollectionRow, CollectionState } from './collections.ts';
export { type DryRun, Retention } from './retention.ts';
