/**
 * The rows behind uses: when a path was last used, to the hour. A path without one was not used since uses are written
 * down, which says nothing of the time before.
 */
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import { readMeta, USES_SINCE } from '../database/index.ts';

/** A row is written at most this often, whichever servers its path is used on. */
export const WRITE_EVERY_MS = 3600_000;

/** For queries that begin with `FROM paths p` and want `LAST_USE`. */
export const USE_JOIN = 'LEFT JOIN uses u ON u.hash_part = p.hash_part';

/** When a path was last used or published, whichever was later. `usesSince` may be later still, and counts then. */
export const LAST_USE = 'CASE WHEN u.used_at > p.published_at THEN u.used_at ELSE p.published_at END';

/** Since when uses are written down: nothing can be called unused for longer. Milliseconds since 1970. */
export async function usesSince(database: Database): Promise<number> {
  return Number((await readMeta(database, USES_SINCE)) ?? 0);
}

/** When a published path was last used, as far as retention is concerned. */
export async function lastUseOf(database: Database, hashPart: string): Promise<number | undefined> {
  const [row] = await database.query<{ last_use: number }>(
    `SELECT ${LAST_USE} AS last_use FROM paths p ${USE_JOIN} WHERE p.hash_part = ?`,
    [hashPart],
  );
  return row && Math.max(Number(row.last_use), await usesSince(database));
}

/**
 * Writes down that paths, and those whose NARs are `objects`, were used at `now`. A row that is young enough is not even
 * locked; rows come in one order, so that servers which write the same ones wait for each other and do not get stuck. Its
 * plan is tested.
 */
export function useStatement(
  database: Pick<Database, 'isOneOf' | 'list'>,
  { hashParts, objects, now }: { hashParts: readonly string[]; objects: readonly number[]; now: number },
): Statement {
  return [
    `INSERT INTO uses (hash_part, used_at) SELECT p.hash_part, CAST(? AS bigint) FROM paths p ${USE_JOIN}
     WHERE (${database.isOneOf('p.hash_part')} OR ${database.isOneOf('p.object_id')})
       AND (u.used_at IS NULL OR u.used_at <= CAST(? AS bigint)) ORDER BY p.hash_part
     ON CONFLICT (hash_part) DO UPDATE SET used_at = excluded.used_at WHERE uses.used_at < excluded.used_at`,
    now,
    database.list(hashParts),
    database.list(objects),
    now - WRITE_EVERY_MS,
  ];
}

const PAGE = 2000;

/** Some rows in the order of their paths, and whether there are such paths. Its plan is tested. */
export const USES_QUERY = `SELECT u.hash_part, EXISTS (SELECT 1 FROM paths p WHERE p.hash_part = u.hash_part) AS is_here
  FROM uses u WHERE u.hash_part > ? ORDER BY u.hash_part LIMIT ${PAGE}`;

/** Removes those of a page of rows whose paths are gone. Where the next page begins; '' after the last one. */
export async function sweepUses(
  database: Pick<Database, 'isOneOf' | 'list' | 'script'> & Pick<Sql, 'query'>,
  after: string,
): Promise<string> {
  const rows = await database.query<{ hash_part: string; is_here: boolean | number }>(USES_QUERY, [after]);
  const gone = rows.filter((row) => !row.is_here).map((row) => row.hash_part);
  if (gone.length > 0)
    await database.script(
      [[`DELETE FROM uses WHERE ${database.isOneOf('hash_part')}`, database.list(gone)]],
      'process',
    );
  return rows.length < PAGE ? '' : (rows.at(-1)?.hash_part ?? '');
}
