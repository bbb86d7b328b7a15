export { Database, type DatabaseInit } from './database.ts';
export { type FolderLock, FolderLockedError, lockFolder } from './folder-lock.ts';
export { NewerDatabaseError } from './migrations.ts';
export { isConstraint, placeholders, type Sql, type SqlValue, type Statement, slices } from './sql.ts';
export type { Write } from './writer.ts';
