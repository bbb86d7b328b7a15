export { Database, type DatabaseInit } from './database.ts';
export { type FolderLock, FolderLockedError, lockFolder } from './folder-lock.ts';
export { placeholders, type Sql, type SqlValue, slices } from './sql.ts';
export type { Write } from './writer.ts';
