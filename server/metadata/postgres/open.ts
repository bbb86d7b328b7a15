/** The door to PostgreSQL: its driver is loaded only where a cache asks for it. */
import type { PostgresDatabase, PostgresDatabaseInit } from './database.ts';

export type { PostgresDatabase, PostgresDatabaseInit } from './database.ts';

/** @throws DatabaseError, NewerDatabaseError */
export async function openPostgres(init: PostgresDatabaseInit): Promise<PostgresDatabase> {
  const postgres = await import('./database.ts');
  return postgres.PostgresDatabase.open(init);
}
