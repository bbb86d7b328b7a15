/**
 * The rows behind closures. `waiting` has one for each reference of a published path that is not servable here; a path
 * without such rows is servable, so that a complete cache costs none. `closing` has the paths that stopped being servable
 * and whose referrers may not have been told yet.
 */
import type { Database, Sql, Statement } from '../../metadata/index.ts';

/** What of a path decides whether its closure is here. */
export interface Referring {
  readonly hashPart: string;
  /** Basenames. */
  readonly references: readonly string[];
}

export interface ReferringRow {
  readonly hash_part: string;
  readonly refs: string;
}

export function referringOf({ hash_part: hashPart, refs }: ReferringRow): Referring {
  return { hashPart, references: refs === '' ? [] : refs.split(' ') };
}

/** Something that a path waits for. */
export interface Wait {
  readonly missing: string;
  readonly path: string;
}

/**
 * Whether the hash part that `expression` stands for can be handed to readers: its bytes are here, and its whole closure.
 * Three look-ups by key.
 */
export function isServable(expression: string): string {
  return `(EXISTS (SELECT 1 FROM paths sp JOIN objects so ON so.id = sp.object_id
      WHERE sp.hash_part = ${expression} AND so.state = 'verified')
    AND NOT EXISTS (SELECT 1 FROM waiting sw WHERE sw.path = ${expression}))`;
}

/** For conditions on a path `p`: something of its closure is not here. */
export const WAITS = 'EXISTS (SELECT 1 FROM waiting w WHERE w.path = p.hash_part)';

/** For lists of paths `p`: 1 where that is so, else null. EXISTS may read all waits for a page. */
export const FIRST_WAIT = '(SELECT 1 FROM waiting w WHERE w.path = p.hash_part LIMIT 1)';

/**
 * The hash parts that must be servable for a path to be: all that it refers to but itself. Where clients are to get some of
 * them elsewhere, from a peer or another cache, this is the place that says so.
 */
export function wantedBy({ hashPart, references }: Referring): string[] {
  return references.map((reference) => reference.slice(0, 32)).filter((wanted) => wanted !== hashPart);
}

/** For the transaction that publishes a path: what it waits for. */
export function waitStatements(database: Pick<Database, 'each' | 'list'>, path: Referring): Statement[] {
  const wanted = wantedBy(path);
  if (wanted.length === 0) return [];
  return [
    [
      `INSERT INTO waiting (missing, path, since) SELECT r.value, ?, CAST(? AS bigint) FROM ${database.each('r')}
       WHERE NOT ${isServable('r.value')} ON CONFLICT DO NOTHING`,
      path.hashPart,
      Date.now(),
      database.list(wanted),
    ],
  ];
}

/** For the transaction that takes paths away from readers: those who refer to them are to be told. */
export function closingStatements(hashParts: readonly string[]): Statement[] {
  return hashParts.map((hashPart) => [
    'INSERT INTO closing (hash_part, taken) VALUES (?, 0) ON CONFLICT (hash_part) DO UPDATE SET taken = 0',
    hashPart,
  ]);
}

/** Those of `hashParts` that are not servable. */
export async function unservable(
  sql: Pick<Sql, 'query'>,
  database: Pick<Database, 'each' | 'list'>,
  hashParts: readonly string[],
): Promise<Set<string>> {
  if (hashParts.length === 0) return new Set();
  const rows = await sql.query<{ value: string }>(
    `SELECT r.value FROM ${database.each('r')} WHERE NOT ${isServable('r.value')}`,
    [database.list(hashParts)],
  );
  return new Set(rows.map((row) => row.value));
}

/** Has published paths wait for what is not servable of what they need: those that do so from now on. */
export async function insertWaits(
  sql: Pick<Sql, 'query'>,
  database: Pick<Database, 'each' | 'list'>,
  paths: readonly Referring[],
): Promise<string[]> {
  const missing = await unservable(sql, database, [...new Set(paths.flatMap(wantedBy))]);
  const fresh: string[] = [];
  for (const path of paths) {
    const waits = wantedBy(path).filter((hashPart) => missing.has(hashPart));
    if (waits.length === 0) continue;
    const rows = await sql.query(
      `INSERT INTO waiting (missing, path, since) SELECT r.value, p.hash_part, CAST(? AS bigint)
       FROM ${database.each('r')} JOIN paths p ON p.hash_part = ? WHERE TRUE
       ON CONFLICT DO NOTHING RETURNING missing`,
      [Date.now(), database.list(waits), path.hashPart],
    );
    if (rows.length > 0) fresh.push(path.hashPart);
  }
  return fresh;
}

/** Most paths, or rows of `waiting`, that one transaction touches. */
export const PAGE = 500;

export function* inParts<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < all.length; start += PAGE) yield all.slice(start, start + PAGE);
}

/** Waits for what is servable now. Its plan is tested. */
export function endedWaitsQuery(database: Pick<Database, 'isOneOf'>): string {
  return `SELECT w.missing, w.path FROM waiting w
    WHERE ${database.isOneOf('w.missing')} AND ${isServable('w.missing')} LIMIT ${PAGE}`;
}

/** Waits in the order of what they are for, after one of them. Its plan is tested. */
export const WAITS_QUERY = `SELECT missing, path FROM waiting WHERE (missing, path) > (?, ?) ORDER BY missing, path LIMIT ${PAGE}`;

/** Paths that were published by a version that knew nothing of closures. Its plan is tested. */
export const UNCHECKED_QUERY = `SELECT hash_part, refs FROM paths WHERE closure_checked IS NULL ORDER BY hash_part LIMIT ${PAGE}`;

/** All paths, page by page. */
export const REFERENCES_QUERY = `SELECT hash_part, refs FROM paths WHERE hash_part > ? ORDER BY hash_part LIMIT 2000`;

/** What is asked once a path is published, in a snapshot of its own. Its plan is tested. */
export function afterPublishQuery(database: Pick<Database, 'each'>): string {
  return `SELECT
    EXISTS (SELECT 1 FROM waiting WHERE missing = ?) AS awaited,
    EXISTS (SELECT 1 FROM waiting WHERE path = ?) AS waits,
    EXISTS (SELECT 1 FROM waiting w WHERE w.path = ? AND ${isServable('w.missing')}) AS ended,
    EXISTS (SELECT 1 FROM ${database.each('r')} WHERE NOT ${isServable('r.value')}
      AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.missing = r.value AND w.path = ?)) AS unnoticed`;
}
