/** Facts about a cache itself: its id, the keys that it has had. */
import { randomUUID } from 'node:crypto';
import type { Database } from '../../metadata/index.ts';
import { CacheError } from '../errors.ts';

/** Key of the cache's UUID. */
export const CACHE_ID = 'cache_id';
/** Since when uses of paths are written down; milliseconds since 1970. */
export const USES_SINCE = 'uses_since';

export async function readMeta(database: Database, key: string): Promise<string | undefined> {
  const rows = await database.query<{ value: string }>('SELECT value FROM meta WHERE key = ?', [key]);
  return rows[0]?.value;
}

export async function writeMeta(database: Database, key: string, value: string): Promise<void> {
  await database.write((sql) =>
    sql.query('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value', [
      key,
      value,
    ]),
  );
}

/** What is known under `key`; where nothing is, `value` from now on, whoever asks at the same moment. */
export async function settleMeta(database: Database, key: string, value: string): Promise<string> {
  const known = await readMeta(database, key);
  if (known !== undefined) return known;
  await database.write((sql) =>
    sql.query('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING', [key, value]),
  );
  return (await readMeta(database, key)) ?? value;
}

/** The cache's UUID, made once with the database; markers of storages carry it. */
export function cacheId(database: Database): Promise<string> {
  return settleMeta(database, CACHE_ID, randomUUID());
}

/** A shared schema belongs to the cache that used it first. @throws CacheError Conflict */
export async function claimSchema(database: Database, cache: string, schema: string): Promise<void> {
  const owner = await settleMeta(database, 'cache_name', cache);
  if (owner !== cache)
    throw new CacheError(
      'Conflict',
      `the schema ${schema} of the database belongs to the cache ${owner}; give this one another database.postgres.schema`,
    );
}

/** What `copy-database` notes while it is not done. */
export const COPYING = 'copying';

/** A half-copied database serves nobody. @throws CacheError Conflict */
export async function mustBeCopied(database: Database): Promise<void> {
  if ((await readMeta(database, COPYING)) !== undefined)
    throw new CacheError(
      'Conflict',
      'narwhal-server copy-database has not finished here; run it again, it goes on where it ended',
    );
}
