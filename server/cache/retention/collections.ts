/** Rows of collections: which is under way, what the last ones did. */
import type { Database } from '../../metadata/index.ts';

export type CollectionState = 'running' | 'held' | 'done' | 'failed';

export interface CollectionRow {
  readonly run: number;
  readonly begun_at: number;
  readonly ended_at: number | null;
  readonly state: CollectionState;
  readonly text: string | null;
  /** Published when it began. */
  readonly paths: number;
  readonly bytes: number;
  /** What it takes, or has taken. */
  readonly removed_paths: number;
  readonly removed_bytes: number;
}

/** What those that are over leave for people to look at. */
const KEPT = 100;

/** Begins a collection: from its commit on, publishers write its number into the rows that they need. */
export async function beginCollection(database: Database, now: number): Promise<number> {
  return database.write(async (sql) => {
    const [row] = await sql.query<{ run: number }>(
      'UPDATE collection SET run = run + 1, is_active = 1 WHERE id = 1 RETURNING run',
    );
    const run = Number(row?.run);
    await sql.run([
      [
        `INSERT INTO collections (run, begun_at, state, paths, bytes, removed_paths, removed_bytes)
         VALUES (?, ?, 'running', 0, 0, 0, 0)`,
        run,
        now,
      ],
      ['DELETE FROM collections WHERE run < ?', run - KEPT],
      ['DELETE FROM doomed'],
    ]);
    return run;
  });
}

/** What is under way, after a server died too. */
export async function runningCollection(database: Pick<Database, 'query'>): Promise<CollectionRow | undefined> {
  const rows = await database.query<CollectionRow>(
    `SELECT s.* FROM collections s JOIN collection c ON c.run = s.run WHERE c.is_active = 1`,
  );
  return rows[0] && numbersOf(rows[0]);
}

export async function lastCollections(database: Pick<Database, 'query'>, limit = KEPT): Promise<CollectionRow[]> {
  const rows = await database.query<CollectionRow>('SELECT * FROM collections ORDER BY run DESC LIMIT ?', [limit]);
  return rows.map(numbersOf);
}

export async function collectionOf(database: Pick<Database, 'query'>, run: number): Promise<CollectionRow | undefined> {
  const rows = await database.query<CollectionRow>('SELECT * FROM collections WHERE run = CAST(? AS bigint)', [run]);
  return rows[0] && numbersOf(rows[0]);
}

/** The newest that has chosen what goes: one that only marks says nothing yet, and may end as the one before it. */
export async function newestCollection(database: Pick<Database, 'query'>): Promise<CollectionRow | undefined> {
  const rows = await database.query<CollectionRow>(
    `SELECT * FROM collections WHERE state <> 'running' OR removed_paths > 0 ORDER BY run DESC LIMIT 1`,
  );
  return rows[0] && numbersOf(rows[0]);
}

/** PostgreSQL's driver may give 64-bit numbers as texts. */
function numbersOf(row: CollectionRow): CollectionRow {
  const { run, begun_at, ended_at, paths, bytes, removed_paths, removed_bytes } = row;
  const numbers = { run, begun_at, paths, bytes, removed_paths, removed_bytes };
  const asNumbers = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Number(value)]));
  return { ...row, ...asNumbers, ended_at: ended_at === null ? null : Number(ended_at) };
}

/** What a collection has retired, and bytes that nothing else holds: less than it chose where a push needed some of it. */
export async function retiredSince(
  database: Pick<Database, 'query'>,
  begunAt: number,
): Promise<{ paths: number; bytes: number }> {
  const [row] = await database.query<{ paths: number; bytes: number }>(RETIRED_SINCE_QUERY, [begunAt, begunAt]);
  return { paths: Number(row?.paths ?? 0), bytes: Number(row?.bytes ?? 0) };
}

const RETIRED_SINCE_QUERY = `SELECT
  (SELECT count(*) FROM retired WHERE retired_at >= ? AND reason <> 'deleted') AS paths,
  (SELECT sum(o.size) FROM objects o
    WHERE o.id IN (SELECT object_id FROM retired WHERE retired_at >= ? AND reason <> 'deleted')
      AND NOT EXISTS (SELECT 1 FROM paths p WHERE p.object_id = o.id)) AS bytes`;

export async function noteCollection(
  database: Database,
  run: number,
  {
    paths,
    bytes,
    removedPaths,
    removedBytes,
  }: { paths: number; bytes: number; removedPaths: number; removedBytes: number },
): Promise<void> {
  await database.script([
    [
      'UPDATE collections SET paths = ?, bytes = ?, removed_paths = ?, removed_bytes = ? WHERE run = ?',
      ...[paths, bytes, removedPaths, removedBytes, run],
    ],
  ]);
}

/** How one is over. */
export type Ending =
  /** With what it has really retired. */
  | { readonly state: 'done'; readonly paths: number; readonly bytes: number }
  | { readonly state: 'held' | 'failed'; readonly text: string };

/** Ends it: nobody needs to write its number any more. Nothing happens where another server has ended it. */
export async function endCollection(database: Database, run: number, ending: Ending, now: number): Promise<void> {
  const isDone = ending.state === 'done';
  await database.script([
    [
      "UPDATE collections SET state = ?, text = ?, ended_at = ? WHERE run = ? AND state = 'running'",
      ...[ending.state, isDone ? null : ending.text, now, run],
    ],
    ...(isDone
      ? [
          [
            'UPDATE collections SET removed_paths = ?, removed_bytes = ? WHERE run = ?',
            ...[ending.paths, ending.bytes, run],
          ] as const,
        ]
      : []),
    ['UPDATE collection SET is_active = 0 WHERE run = CAST(? AS bigint)', run],
    ['DELETE FROM doomed WHERE NOT EXISTS (SELECT 1 FROM collection WHERE is_active = 1)'],
  ]);
}
