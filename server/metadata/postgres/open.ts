/** The door to PostgreSQL: its driver is loaded only where a cache asks for it. */
import type { PostgresDatabase, PostgresDatabaseInit } from './database.ts';

import type { SchemaInit } from './schema.ts';

export type { PostgresDatabase, PostgresDatabaseInit } from './database.ts';

/** @throws DatabaseError, NewerDatabaseError */
export async function openPostgres(init: PostgresDatabaseInit): Promise<PostgresDatabase> {
  const postgres = await import('./database.ts');
  return postgres.PostgresDatabase.open(init);
}

/** Brings a schema up to date. Names of the migrations that were applied now. @throws DatabaseError, NewerDatabaseError */
export async function migratePostgresSchema(init: SchemaInit): Promise<string[]> {
  const { prepareSchema } = await import('./schema.ts');
  return prepareSchema(init);
}
