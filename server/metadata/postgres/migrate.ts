/** Applies migrations to a schema of PostgreSQL, with knex's own connection. */
import { migrate } from '../migrate.ts';
import { tlsOptions } from './connection.ts';
import type { PostgresTarget } from './target.ts';

/** The schema must be there, and only one process may do this at a time. The names of what was applied. */
export function migratePostgres(target: PostgresTarget, schema: string): Promise<string[]> {
  const { host, port, user, password, database } = target;
  return migrate({
    client: 'pg',
    connection: { host, port, user, password, database, ssl: tlsOptions(target), application_name: 'narwhal-server' },
    searchPath: [schema],
    pool: { min: 1, max: 1 },
  });
}
