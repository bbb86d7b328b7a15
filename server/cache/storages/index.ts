export { isTight, type QuotaUse } from './quota.ts';
export { isEmpty, type Remains, remainsOf } from './remains.ts';
export type { ResolvedStorage } from './spec.ts';
export { isFull, type Placement, type StorageFacts, Storages, type StoragesInit } from './storages.ts';
