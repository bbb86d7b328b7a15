export { armCrashPoint, CRASH_POINTS, type CrashPoint, crashPoint } from './crash-point.ts';
export * from './errors.ts';
export { LocalStorage, type LocalStorageInit } from './local.ts';
export type { ByteRange, Staged, Storage, StorageHealth, StorageUsage, StoredEntry } from './storage.ts';
export { type Candidate, hasRoom, place, type StrategyName } from './strategy.ts';
