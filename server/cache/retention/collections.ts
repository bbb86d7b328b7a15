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

/** PostgreSQL's driver may give 64-bit numbers as texts. */
function numbersOf(row: CollectionRow): CollectionRow {
  const { run, begun_at, ended_at, paths, bytes, removed_paths, removed_bytes } = row;
  const numbers = { run, begun_at, paths, bytes, removed_paths, removed_bytes };
  const asNumbers = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, Number(value)]));
  return { ...row, ...asNumbers, ended_at: ended_at === null ? null : Number(ended_at) };
}

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

/** Ends it: nobody needs to write its number any more. Nothing happens where another server has ended it. */
export async function endCollection(
  database: Database,
  run: number,
  state: Exclude<CollectionState, 'running'>,
  text: string | undefined,
  now: number,
): Promise<void> {
  await database.script([
    [
      "UPDATE collections SET state = ?, text = ?, ended_at = ? WHERE run = ? AND state = 'running'",
      state,
      text ?? null,
      now,
      run,
    ],
    ['UPDATE collection SET is_active = 0 WHERE run = CAST(? AS bigint)', run],
    ['DELETE FROM doomed WHERE NOT EXISTS (SELECT 1 FROM collection WHERE is_active = 1)'],
  ]);
}
