/**
 * What a collection and those who publish meanwhile tell each other. A collection makes its number known, waits for older
 * transactions to end, and marks; whoever makes something needed from then on writes that number into the row of each path
 * that it needs. What is swept are rows with a lesser number: the lock of the row decides who comes first.
 */
import type { Database, Sql } from '../../metadata/index.ts';
import { IS_BLOCKED } from '../blocks/index.ts';

/**
 * An expression for the column `needed` of a new path: NULL, which it does not take, while a collection is under way or where
 * the path is blocked. For the hash part and the NAR hash of the path.
 */
export const NEEDED_BY_NONE = `(SELECT CASE WHEN is_active = 0 AND NOT ${IS_BLOCKED} THEN 0 END FROM collection)`;

/**
 * The number of the collection that is under way. Only for a transaction that has written something: a collection that
 * begins waits for those that have, and nobody knows of the others.
 */
export async function activeRun(sql: Pick<Sql, 'query'>): Promise<number | undefined> {
  const [row] = await sql.query<{ run: number; is_active: number }>('SELECT run, is_active FROM collection');
  return row?.is_active ? Number(row.run) : undefined;
}

/**
 * For a transaction of a collection: whether it still is the one under way, which it is then until the transaction ends.
 * Another server may have taken it for dead and gone on with it.
 */
export async function holdRun(sql: Pick<Sql, 'query'>, run: number): Promise<boolean> {
  const rows = await sql.query(
    'UPDATE collection SET run = run WHERE is_active = 1 AND run = CAST(? AS bigint) RETURNING run',
    [run],
  );
  return rows.length > 0;
}

/** Most paths of one statement. */
const PAGE = 500;

/** Has paths and all that they need stay. Those that have the number already were gone through by whoever wrote it. */
export async function markNeeded(
  database: Pick<Database, 'isOneOf' | 'list'>,
  sql: Pick<Sql, 'query'>,
  hashParts: readonly string[],
  run: number,
): Promise<void> {
  const frontier = [...hashParts];
  while (frontier.length > 0) {
    const some = frontier.splice(-PAGE);
    const rows = await sql.query<{ refs: string }>(
      `UPDATE paths SET needed = CAST(? AS bigint) WHERE ${database.isOneOf('hash_part')} AND needed < CAST(? AS bigint)
       RETURNING refs`,
      [run, database.list(some), run],
    );
    for (const { refs } of rows)
      for (const reference of refs.split(' ')) if (reference !== '') frontier.push(reference.slice(0, 32));
  }
}
