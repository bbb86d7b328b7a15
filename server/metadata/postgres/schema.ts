/** The schema of a cache in PostgreSQL: found or made, and migrated by one server at a time. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Logger } from 'pino';
import { DatabaseError } from '../errors.ts';
import { schemaState } from '../migrations.ts';
import { Pauses } from '../retry.ts';
import type { Sql } from '../sql.ts';
import { CONNECT_MS, clientConfig, limited, runQuery, sessionText } from './connection.ts';
import { explain, isPassing, shortly } from './errors.ts';
import type { PostgresTarget } from './target.ts';
import { quoteName } from './text.ts';

export interface SchemaInit {
  readonly target: PostgresTarget;
  readonly schema: string;
  readonly version: string;
  readonly logger: Logger;
  /** How long a database is waited for that cannot be reached. */
  readonly waitMs: number;
}

/** A migration may rewrite a table of millions of rows. */
const MIGRATION_MS = 3600_000;
const LOCK_POLL_MS = 250;
const MOST_ATTEMPTS = 5;

/** Names of the migrations that were applied now. @throws DatabaseError, NewerDatabaseError */
export async function prepareSchema(init: SchemaInit): Promise<string[]> {
  const client = await connect(init);
  client.on('error', () => {});
  try {
    const sql: Pick<Sql, 'query'> = { query: (text, values = []) => runQuery(client, text, values) };
    if ((await stateOf(sql, init)) === 'ready') return [];
    return await migrateAlone(client, sql, init);
  } catch (error) {
    throw explained(error, init);
  } finally {
    await client.end();
  }
}

/** Connects, waiting for a server that is not there yet. */
async function connect({ target, schema, logger, waitMs }: SchemaInit): Promise<pg.Client> {
  const deadline = performance.now() + waitMs;
  const pauses = new Pauses(200);
  for (let isFirst = true; ; isFirst = false) {
    const client = new pg.Client(clientConfig({ target: () => target, timeoutMs: MIGRATION_MS }));
    try {
      await client.connect();
      await client.query(limited(sessionText({ schema, timeoutMs: MIGRATION_MS }), CONNECT_MS));
      return client;
    } catch (error) {
      client.end().catch(() => {});
      const known = explain(error, target);
      if (known !== undefined) throw known;
      if (!isPassing(error)) throw error;
      if (performance.now() + pauses.nextMs > deadline)
        throw new DatabaseError('Unreachable', `${target.describe()} cannot be reached: ${shortly(error)}`, {
          cause: error,
        });
      if (isFirst) logger.warn({ reason: shortly(error) }, `${target.describe()} cannot be reached yet; waiting`);
      await pauses.pause();
    }
  }
}

async function stateOf(sql: Pick<Sql, 'query'>, { schema, version }: SchemaInit): ReturnType<typeof schemaState> {
  const tables = await sql.query<{ name: string }>(
    `SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = ? AND c.relname IN ('knex_migrations', 'meta')`,
    [schema],
  );
  return schemaState(sql, new Set(tables.map((table) => table.name)), version);
}

/**
 * Migrates behind an advisory lock, which goes with its connection. knex has a lock of its own, a row that stays when a
 * migration is killed; whoever holds the advisory lock knows that nobody is behind that row any more.
 */
async function migrateAlone(client: pg.Client, sql: Pick<Sql, 'query'>, init: SchemaInit): Promise<string[]> {
  const { schema, logger } = init;
  const key = [`narwhal migrates ${schema}`];
  const take = 'SELECT pg_try_advisory_lock(hashtextextended(?, 0)) AS taken';
  for (let isFirst = true; ; isFirst = false) {
    const [row] = await sql.query<{ taken: boolean }>(take, key);
    if (row?.taken === true) break;
    if (isFirst) logger.info({ schema }, 'another server migrates the database; waiting for it');
    await delay(LOCK_POLL_MS);
  }
  try {
    for (let attempt = 1; ; attempt++) {
      // The one that had the lock may have done it all.
      if ((await stateOf(sql, init)) === 'ready') return [];
      try {
        const applied = await migrateNow(client, sql, init);
        logger.info({ schema, migrations: applied }, 'the database is migrated');
        return applied;
      } catch (error) {
        // The last statement of a server that was killed may still run, on the connection that migrates.
        if (attempt === MOST_ATTEMPTS || !isInTheWay(error)) throw error;
        await delay(LOCK_POLL_MS * attempt);
      }
    }
  } finally {
    await sql.query('SELECT pg_advisory_unlock(hashtextextended(?, 0))', key).catch(() => {});
  }
}

async function migrateNow(client: pg.Client, sql: Pick<Sql, 'query'>, init: SchemaInit): Promise<string[]> {
  const { schema, target } = init;
  await makeSchema(sql, init);
  const [locks] = await sql.query<{ name: string | null }>('SELECT to_regclass(?)::text AS name', [
    `${quoteName(schema)}.knex_migrations_lock`,
  ]);
  if (locks?.name !== null) await client.query('UPDATE knex_migrations_lock SET is_locked = 0');
  const { migratePostgres } = await import('./migrate.ts');
  return migratePostgres(target, schema);
}

/** Duplicate table, object, or row of a catalogue; or knex's own lock. */
function isInTheWay(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? error.code : undefined;
  return code === '42P07' || code === '42710' || code === '42P06' || code === '23505' || /lock/i.test(error.name);
}

async function makeSchema(sql: Pick<Sql, 'query'>, { schema, target }: SchemaInit): Promise<void> {
  const found = await sql.query('SELECT 1 FROM pg_namespace WHERE nspname = ?', [schema]);
  if (found.length > 0) return;
  await sql.query(`CREATE SCHEMA ${quoteName(schema)}`).catch((error: unknown) => {
    const [name, user] = [quoteName(schema), quoteName(target.user)];
    throw isDenied(error)
      ? new DatabaseError(
          'Missing',
          `${target.describe()} has no schema ${schema}, and user ${target.user} may not make it; ` +
            `have an administrator run there: CREATE SCHEMA ${name} AUTHORIZATION ${user}`,
          { cause: error },
        )
      : error;
  });
}

function explained(error: unknown, { schema, target }: SchemaInit): unknown {
  if (error instanceof DatabaseError) return error;
  if (isDenied(error))
    return new DatabaseError(
      'NotAllowed',
      `${target.describe()}: user ${target.user} may not change schema ${schema}; ` +
        `have an administrator run there: ALTER SCHEMA ${quoteName(schema)} OWNER TO ${quoteName(target.user)}`,
      { cause: error },
    );
  if (isPassing(error))
    return new DatabaseError('Unreachable', `${target.describe()} does not answer: ${shortly(error)}`, {
      cause: error,
    });
  return error;
}

function isDenied(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '42501';
}
