/** Facts about a cache itself: its id, the keys that it has had. */
import { randomUUID } from 'node:crypto';
import type { Database } from '../metadata/index.ts';

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

/** The cache's UUID, made once with the database; markers of storages carry it. */
export async function cacheId(database: Database): Promise<string> {
  const known = await readMeta(database, 'cache_id');
  if (known !== undefined) return known;
  const made = randomUUID();
  await writeMeta(database, 'cache_id', made);
  return made;
}
