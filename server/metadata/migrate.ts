/** Applies migrations. Imported only where there are some: knex takes a fifth of the start and 8 MB of memory. */
import knexModule, { type Knex } from 'knex';
import { migrations } from './migrations.ts';

type Migration = (typeof migrations)[number];

/** Brings the schema of an SQLite file up to date. The names of the migrations that were applied. */
export function migrateSqlite(file: string): Promise<string[]> {
  return migrate({
    client: 'sqlite3',
    connection: { filename: file },
    useNullAsDefault: true,
    pool: { min: 1, max: 1 },
  });
}

/** Each migration runs in a transaction of its own. The names of those that were applied. */
export async function migrate(config: Knex.Config): Promise<string[]> {
  const knex = knexModule(config);
  try {
    const [, names] = await knex.migrate.latest({
      // A later version may have added migrations that this one does not know.
      disableMigrationsListValidation: true,
      migrationSource: {
        getMigrations: async () => [...migrations],
        getMigrationName: (migration: Migration) => migration.name,
        getMigration: async (migration: Migration) => ({ up: migration.up, down: async () => {} }),
      },
    });
    return names;
  } finally {
    await knex.destroy();
  }
}
