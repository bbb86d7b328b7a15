/**
 * The rows of lost objects: `verified` becomes `lost`, `lost` becomes `verified` again or a tombstone. A lost row keeps its
 * key and its paths, so that the next push of the same bytes is served under the same URL. Each statement names the row as
 * it was looked at: where servers run, others may have moved, replaced or healed the object meanwhile.
 */
import type { Database, Sql } from '../../metadata/index.ts';
import type { KnownObject, NarFacts, NewObject } from './object.ts';
import { drop, insertTombstone, isKnownStorage } from './tombstones.ts';

/** Its bytes are gone, are more or fewer, or are other ones. */
export type Loss = 'missing' | 'wrong-size' | 'wrong-hash';

/** What the rows say of lost objects of a storage. */
export interface LostCount {
  readonly storage: string;
  readonly n: number;
}

const SAME = 'id = ? AND storage = ? AND name = ?';
const same = ({ id, storage, name }: KnownObject) => [id, storage, name];

/** For conditions: a path `p` is served unless this holds. By an index of lost objects alone, which are few. */
export const IS_LOST = `EXISTS (SELECT 1 FROM objects l WHERE l.id = p.object_id AND l.state = 'lost')`;

/** The paths that are not served; its plan is tested. */
export const LOST_PATHS_QUERY = `SELECT p.hash_part FROM objects o JOIN paths p ON p.object_id = o.id WHERE o.state = 'lost'`;

/** How many there are, by storage; its plan is tested. */
export const LOST_COUNTS_QUERY = `SELECT storage, count(*) AS n FROM objects WHERE state = 'lost' GROUP BY storage`;

async function pathsOf(sql: Sql, id: number): Promise<string[]> {
  const rows = await sql.query<{ hash_part: string }>('SELECT hash_part FROM paths WHERE object_id = ?', [id]);
  return rows.map((row) => row.hash_part);
}

/** The hash parts of its paths; undefined: the row has changed. */
export async function markLost(sql: Sql, object: KnownObject, loss: Loss): Promise<string[] | undefined> {
  const marked = await sql.query(
    `UPDATE objects SET state = 'lost', lost_since = ?, loss = ? WHERE ${SAME} AND state = 'verified' RETURNING id`,
    [Date.now(), loss, ...same(object)],
  );
  return marked.length === 0 ? undefined : pathsOf(sql, object.id);
}

/** Whether the row is a lost one now. */
export async function isLostNow(database: Pick<Database, 'query'>, object: KnownObject): Promise<boolean> {
  const rows = await database.query(`SELECT 1 FROM objects WHERE ${SAME} AND state = 'lost'`, same(object));
  return rows.length > 0;
}

/** The hash parts of its paths, which are served again; undefined: the row has changed. */
export async function restoreLost(sql: Sql, object: KnownObject): Promise<string[] | undefined> {
  const restored = await sql.query(
    `UPDATE objects SET state = 'verified', lost_since = NULL, loss = NULL
     WHERE ${SAME} AND state = 'lost' RETURNING id`,
    same(object),
  );
  return restored.length === 0 ? undefined : pathsOf(sql, object.id);
}

/**
 * Unpublishes what is lost, and leaves what there is of its bytes to be removed. The hash parts; undefined: the row has
 * changed.
 */
export async function giveUpLost(sql: Sql, object: KnownObject): Promise<string[] | undefined> {
  if (!(await lock(sql, object.id))) return undefined;
  const rows = await sql.query<{ hash_part: string }>('DELETE FROM paths WHERE object_id = ? RETURNING hash_part', [
    object.id,
  ]);
  await sql.query('DELETE FROM retired WHERE object_id = ?', [object.id]);
  await drop(sql, object);
  return rows.map((row) => row.hash_part);
}

/** Keeps others from healing it until the transaction ends. False: somebody has. */
async function lock(sql: Sql, id: number): Promise<boolean> {
  const rows = await sql.query(`UPDATE objects SET orphan_since = NULL WHERE id = ? AND state = 'lost' RETURNING id`, [
    id,
  ]);
  return rows.length > 0;
}

/**
 * Gives a lost NAR new bytes under its old key: the same file, which its hash and name prove. Its paths are served again.
 * Undefined: no such object is lost.
 * @param orphanSince since when it waits for a path, where it has none
 */
export async function healNar(
  sql: Sql,
  object: NewObject,
  { compression, fileHash, narHash, narSize }: NarFacts,
  orphanSince: number | null,
): Promise<{ id: number; paths: string[] } | undefined> {
  const [old] = await sql.query<KnownObject>(
    `SELECT id, key, storage, name, size FROM objects
     WHERE key = ? AND state = 'lost' AND file_hash = ? AND nar_hash = ? AND nar_size = ?`,
    [object.key, fileHash, narHash, narSize],
  );
  if (old === undefined) return undefined;
  const healed = await sql.query(
    `UPDATE objects SET storage = ?, name = ?, size = ?, compression = ?, state = 'verified', lost_since = NULL, loss = NULL,
       orphan_since = CASE WHEN orphan_since IS NULL THEN NULL ELSE CAST(? AS bigint) END
     WHERE ${SAME} AND state = 'lost' RETURNING id`,
    [object.storage, object.name, object.size, compression, orphanSince, ...same(old)],
  );
  // Another push was quicker.
  if (healed.length === 0) return undefined;
  if (await isKnownStorage(sql, old.storage)) await insertTombstone(sql, old);
  return { id: old.id, paths: await pathsOf(sql, old.id) };
}

/**
 * Points all paths of a lost NAR at another file of the same NAR, and gives the lost one up. The hash parts, which are
 * served again; none: it is not lost any more.
 */
export async function replaceLost(sql: Sql, lost: Pick<KnownObject, 'id' | 'storage'>, by: number): Promise<string[]> {
  if (!(await lock(sql, lost.id))) return [];
  const rows = await sql.query<{ hash_part: string }>(
    'UPDATE paths SET object_id = ? WHERE object_id = ? RETURNING hash_part',
    [by, lost.id],
  );
  await sql.query('UPDATE retired SET object_id = ? WHERE object_id = ?', [by, lost.id]);
  await drop(sql, lost);
  return rows.map((row) => row.hash_part);
}
