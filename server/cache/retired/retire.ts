/** Rows of retired paths: unpublished, with their bytes kept for a while, and back again. */
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import { closingStatements, insertWaits, type Referring } from '../closures/index.ts';
import { orphanStatements } from '../objects/index.ts';
import { LAST_USE, USE_JOIN, useStatement } from '../use/index.ts';
import { activeRun, markNeeded } from './needs.ts';

export type RetiredReason = 'unused' | 'maxSize' | 'deleted';

interface Row {
  readonly hash_part: string;
  readonly name: string;
  readonly object_id: number;
  readonly refs: string;
  readonly deriver: string | null;
  readonly ca: string | null;
  readonly signatures: string;
  readonly published_at: number;
}

const COLUMNS = 'hash_part, name, object_id, refs, deriver, ca, signatures, published_at';

export interface Retiring {
  readonly hashParts: readonly string[];
  readonly reason: (hashPart: string) => RetiredReason;
  readonly actor: string | undefined;
  /** Only paths that no push has needed since this collection began; undefined: all. */
  readonly run: number | undefined;
  readonly now: number;
}

/**
 * Unpublishes paths; the hash parts of those that it has. Nothing should refer to them, but a server of an older version may
 * just have published something that does: that waits then.
 */
export async function retire(database: Database, sql: Sql, retiring: Retiring): Promise<string[]> {
  const { hashParts, reason, actor, run, now } = retiring;
  const uses = await sql.query<{ hash_part: string; used_at: number }>(
    `SELECT p.hash_part, ${LAST_USE} AS used_at FROM paths p ${USE_JOIN} WHERE ${database.isOneOf('p.hash_part')}`,
    [database.list(hashParts)],
  );
  const usedAt = new Map(uses.map((row) => [row.hash_part, Number(row.used_at)]));
  const rows = await sql.query<Row>(
    `DELETE FROM paths WHERE ${database.isOneOf('hash_part')}${run === undefined ? '' : ' AND needed < CAST(? AS bigint)'}
     RETURNING ${COLUMNS}`,
    [database.list(hashParts), ...(run === undefined ? [] : [run])],
  );
  // A path that came back with another NAR, and goes again.
  const replaced = await sql.query<{ object_id: number }>(
    `SELECT object_id FROM retired WHERE ${database.isOneOf('hash_part')}`,
    [database.list(rows.map((row) => row.hash_part))],
  );
  await sql.run([
    ...rows.map(
      (row): Statement => [
        `INSERT INTO retired (${COLUMNS}, used_at, retired_at, reason, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (hash_part) DO UPDATE SET name = excluded.name, object_id = excluded.object_id, refs = excluded.refs,
         deriver = excluded.deriver, ca = excluded.ca, signatures = excluded.signatures,
         published_at = excluded.published_at, used_at = excluded.used_at, retired_at = excluded.retired_at,
         reason = excluded.reason, actor = excluded.actor`,
        ...valuesOf(row),
        usedAt.get(row.hash_part) ?? row.published_at,
        now,
        reason(row.hash_part),
        actor ?? null,
      ],
    ),
    ...orphanStatements(
      database,
      replaced.map((row) => row.object_id),
    ),
    ...closingStatements(rows.map((row) => row.hash_part)),
  ]);
  return rows.map((row) => row.hash_part);
}

const valuesOf = (row: Row) =>
  [row.hash_part, row.name, row.object_id, row.refs, row.deriver, row.ca, row.signatures, row.published_at] as const;

/** Most paths of one statement. */
const PAGE = 500;

/** Whether any of `hashParts` is retired; its plan is tested. */
export async function areRetired(
  database: Pick<Database, 'query' | 'isOneOf' | 'list'>,
  hashParts: readonly string[],
): Promise<boolean> {
  // By the index, which remembers what is dead: without it, rows that have gone would be read again and again.
  if ((await database.query('SELECT 1 FROM retired ORDER BY hash_part LIMIT 1')).length === 0) return false;
  return (await database.query(retiredQuery(database), [database.list(hashParts)])).length > 0;
}

export function retiredQuery(database: Pick<Database, 'isOneOf'>): string {
  return `SELECT 1 FROM retired WHERE ${database.isOneOf('hash_part')} LIMIT 1`;
}

/** Those of `hashParts` that are retired for one of these reasons. */
export async function retiredAs(
  database: Pick<Database, 'query' | 'isOneOf' | 'list'>,
  hashParts: readonly string[],
  reasons: readonly RetiredReason[],
): Promise<string[]> {
  if (hashParts.length === 0 || !(await areRetired(database, hashParts))) return [];
  const rows = await database.query<{ hash_part: string }>(
    `SELECT hash_part FROM retired WHERE ${database.isOneOf('hash_part')} AND ${database.isOneOf('reason')}`,
    [database.list(hashParts), database.list(reasons)],
  );
  return rows.map((row) => row.hash_part);
}

/**
 * Publishes retired paths again, with all of their closure that is retired: those whose NAR is still there, and that are
 * not blocked. Those that are published from then on. Their closures are yet to be looked at again, once this is committed. Of a
 * path that was published anew meanwhile, perhaps with another NAR, the old one keeps its grace.
 */
export async function revive(database: Database, sql: Sql, hashParts: readonly string[]): Promise<Referring[]> {
  const revived: Referring[] = [];
  const objects = new Set<number>();
  const frontier = [...hashParts];
  while (frontier.length > 0) {
    const some = frontier.splice(-PAGE);
    const rows = await sql.query<Row>(
      `DELETE FROM retired WHERE ${database.isOneOf('hash_part')}
         AND NOT EXISTS (SELECT 1 FROM paths p WHERE p.hash_part = retired.hash_part)
         AND EXISTS (SELECT 1 FROM objects o WHERE o.id = retired.object_id AND o.state = 'verified' AND NOT EXISTS
           (SELECT 1 FROM blocked b WHERE b.hash_part = retired.hash_part OR b.nar_hash = o.nar_hash)) RETURNING ${COLUMNS}`,
      [database.list(some)],
    );
    for (const row of rows) {
      const references = row.refs === '' ? [] : row.refs.split(' ');
      revived.push({ hashPart: row.hash_part, references });
      objects.add(row.object_id);
      frontier.push(...references.map((reference) => reference.slice(0, 32)));
    }
    await sql.run(
      rows.flatMap((row): Statement[] => [
        // As one that a path points at: it is no orphan.
        [`UPDATE objects SET orphan_since = NULL WHERE id = ?`, row.object_id],
        [
          `INSERT INTO paths (${COLUMNS}, closure_checked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)
           ON CONFLICT (hash_part) DO NOTHING`,
          ...valuesOf(row),
        ],
      ]),
    );
  }
  if (revived.length === 0) return [];
  const all = revived.map((path) => path.hashPart);
  // Somebody wants them: the next collection is to know that, on whichever server. So is the one that is under way, of all
  // that they need.
  await sql.run([
    // Where a path was published with another NAR at this moment, the one from before belongs to nobody.
    ...orphanStatements(database, [...objects]),
    useStatement(database, { hashParts: all, objects: [], now: Date.now() }),
  ]);
  const run = await activeRun(sql);
  if (run !== undefined) await markNeeded(database, sql, all, run);
  // Who waits is waited for: until nobody new does.
  while ((await insertWaits(sql, database, revived)).length > 0);
  return revived;
}
