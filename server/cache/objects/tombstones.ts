/** Rows of bytes that nobody needs any more: out of sight at once, removed afterwards by whoever collects. */
import type { Database, Sql, Statement } from '../../metadata/index.ts';

/** Where bytes lie. */
interface Place {
  readonly storage: string;
  readonly name: string;
  readonly size: number;
}

/**
 * Records bytes that lost a race, so that they are removed even if the process dies now. Where they have a row already,
 * they lost it to themselves: the same write ran before, and was said to have failed.
 * @param deleteAfter until when somebody may still read them
 */
export async function insertTombstone(sql: Sql, object: Place, deleteAfter: number | null = null): Promise<void> {
  await sql.query(
    `INSERT INTO objects (key, storage, name, size, state, created_at, delete_after)
     VALUES (NULL, ?, ?, ?, 'tombstoned', ?, ?) ON CONFLICT (storage, name, size) DO NOTHING`,
    [object.storage, object.name, object.size, Date.now(), deleteAfter],
  );
}

/** Takes an object out of sight; its bytes go later. */
export async function tombstone(sql: Sql, id: number): Promise<void> {
  await sql.query(`UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL WHERE id = ?`, [id]);
}

/** The same for one that may be lost: bytes in a storage that no manifest has any more are nobody's to remove. */
export async function drop(sql: Sql, { id, storage }: { id: number; storage: string }): Promise<void> {
  if (await isKnownStorage(sql, storage)) await tombstone(sql, id);
  else await sql.query('DELETE FROM objects WHERE id = ?', [id]);
}

export async function isKnownStorage(sql: Sql, name: string): Promise<boolean> {
  return (await sql.query('SELECT 1 FROM storages WHERE name = ?', [name])).length > 0;
}

/** For conditions on a row of `objects`: a path points at it, one that is retired among them. */
const IS_POINTED_AT = `(EXISTS (SELECT 1 FROM paths p WHERE p.object_id = objects.id)
  OR EXISTS (SELECT 1 FROM retired r WHERE r.object_id = objects.id))`;

export async function isPointedAt(sql: Pick<Sql, 'query'>, id: number): Promise<boolean> {
  return (await sql.query(`SELECT 1 FROM objects WHERE id = ? AND ${IS_POINTED_AT}`, [id])).length > 0;
}

/**
 * For the transaction that took paths away: their NARs are orphans that nobody waits for, where no other path points at
 * them. Locked first: two servers may take the last two paths of one NAR away at one moment, and whoever comes second looks
 * at what the first one has left.
 */
export function orphanStatements(database: Pick<Database, 'isOneOf' | 'list'>, ids: readonly number[]): Statement[] {
  if (ids.length === 0) return [];
  const list = database.list(ids);
  return [
    [`UPDATE objects SET orphan_since = orphan_since WHERE ${database.isOneOf('id')}`, list],
    [
      `UPDATE objects SET orphan_since = 0 WHERE ${database.isOneOf('id')} AND orphan_since IS NULL
         AND state <> 'tombstoned' AND NOT ${IS_POINTED_AT}`,
      list,
    ],
  ];
}

/**
 * Somebody has found a NAR here that a path is about to point at: it waits for that from now on, even where all paths that
 * it has are retired and their grace ends first. False: it is being removed just now.
 */
export async function keepNar(sql: Pick<Sql, 'query'>, id: number, now: number): Promise<boolean> {
  await sql.query(
    `UPDATE objects SET orphan_since = ? WHERE id = ? AND state = 'verified'
       AND (orphan_since IS NOT NULL OR NOT EXISTS (SELECT 1 FROM paths p WHERE p.object_id = objects.id))`,
    [now, id],
  );
  return (await sql.query(`SELECT 1 FROM objects WHERE id = ? AND state = 'verified'`, [id])).length > 0;
}

/** An object that was taken for an orphan is none where a path points at it. */
export async function adopt(sql: Sql, id: number): Promise<void> {
  await sql.query(`UPDATE objects SET orphan_since = NULL WHERE id = ? AND ${IS_POINTED_AT}`, [id]);
}

/**
 * Takes a NAR out of sight that no path has claimed since `before`. One statement: a path may be claiming it on another
 * server at this moment, and whoever comes second then finds it gone or claimed. Whether it was taken.
 */
export async function tombstoneOrphan(sql: Sql, id: number, before: number): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL
     WHERE id = ? AND state <> 'tombstoned' AND orphan_since < ? AND NOT ${IS_POINTED_AT} RETURNING id`,
    [id, before],
  );
  return rows.length > 0;
}

/** Takes a NAR out of sight that no path points at, whose bytes are not on disk as its row says. Whether it was there. */
export async function tombstoneUnsynced(sql: Sql, { storage, name }: Omit<Place, 'size'>): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE objects SET key = NULL, state = 'tombstoned', orphan_since = NULL
     WHERE storage = ? AND name = ? AND state <> 'tombstoned' AND orphan_since IS NOT NULL RETURNING id`,
    [storage, name],
  );
  return rows.length > 0;
}
