export { armCrashPoint, CRASH_POINTS, type CrashPoint, crashPoint } from './crash-point.ts';
export * from './errors.ts';
export { LocalStorage, type LocalStorageInit } from './local.ts';
export { folderAt } from './names.ts';
export { ByteBudget } from './s3/budget.ts';
export { placeOf, type S3Config, type S3Credentials } from './s3/config.ts';
export type { S3Storage, S3StorageInit } from './s3/storage.ts';
export type { StagedFile } from './staged-file.ts';
export type {
  ByteRange,
  RemotePart,
  RemoteUpload,
  RemoteUploads,
  Staged,
  Storage,
  StorageHealth,
  StorageUsage,
  StoredEntry,
} from './storage.ts';
export { type Candidate, hasRoom, place, type StrategyName } from './strategy.ts';

/** The SDK of S3 is loaded only where a manifest has a bucket: it takes a fifth of a second and 30 MB. */
export async function createS3Storage(init: import('./s3/storage.ts').S3StorageInit) {
  const { S3Storage } = await import('./s3/storage.ts');
  return new S3Storage(init);
}
