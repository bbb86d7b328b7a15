export type { Permission } from './access/index.ts';
export { type Access, ANYONE, authorize, type Guarded, NO_CACHE } from './access/index.ts';
export type { BinaryCache } from './binary-cache.ts';
export type { Block } from './blocks/index.ts';
export { Caches, type CachesInit } from './caches.ts';
export { type CopyReport, copyDatabase, type Migrated, migrateDatabase } from './database/index.ts';
export { CacheError, type CacheErrorCode } from './errors.ts';
export { soon } from './flow/index.ts';
export {
  type ClosureSize,
  type ListedPath,
  type Listing,
  type ListingPage,
  MOST_LISTED,
  type PathDetails,
  type Position,
  SORTS,
  type Sort,
} from './listing/index.ts';
export type { CacheMetrics } from './metrics.ts';
export { moveObjects } from './move-objects.ts';
export { lineOf } from './moving/index.ts';
export type { Body, StoredObject } from './objects/index.ts';
export type { Asker, Narinfo } from './paths/index.ts';
export { wordsOfLost } from './paths/index.ts';
export { type Keep, type Pin, parseName, parsePin, type Revision, storePathOf } from './pins/index.ts';
export {
  decodeBody,
  MAX_PARTS,
  type PartClaim,
  type PartGrant,
  type PathClaim,
  parseNarInfoCreate,
  signPart,
  verifyPart,
} from './push/index.ts';
export {
  type CollectionReport,
  type Deleted,
  type Deletion,
  type Explained,
  statusOf as collectionStatus,
  type Taken,
} from './retention/index.ts';
export { defaultSettings, type Settings } from './settings.ts';
export { type CheckReport, check, type Finding } from './upkeep/index.ts';
export { Verifier, VerifierFailure, VerifyError } from './verify/index.ts';
