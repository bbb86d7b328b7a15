export { type CopyReport, copyDatabase } from './copy.ts';
export { type Lease, Leases } from './leases.ts';
export { cacheId, readMeta, settleMeta, USES_SINCE, writeMeta } from './meta.ts';
export { type Migrated, migrateDatabase } from './migrate.ts';
export { type OpenDatabase, openDatabase } from './open.ts';
export { type DatabaseTarget, resolveTarget } from './target.ts';
