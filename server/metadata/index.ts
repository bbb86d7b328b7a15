export type { ChangeListener, Database } from './database.ts';
export { DatabaseError, type DatabaseErrorCode, DatabaseUnavailableError } from './errors.ts';
export { type FolderLock, FolderLockedError, lockFolder } from './folder-lock.ts';
export { NewerDatabaseError } from './migrations.ts';
export { migratePostgresSchema, openPostgres, type PostgresDatabase } from './postgres/open.ts';
export { PostgresTarget, readTarget, type TlsPlan } from './postgres/target.ts';
export { isConstraint, type Sql, type SqlValue, type Statement } from './sql.ts';
export { SqliteDatabase, type SqliteDatabaseInit } from './sqlite-database.ts';
export type { Write } from './writer.ts';
