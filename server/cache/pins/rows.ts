/**
 * Rows of pins: one a name in `pins`, which whoever changes the name locks first, and one a revision. So numbers have no gap
 * and none comes twice, whichever server adds it, and what the newest revision decides holds until the commit.
 */
import type { Database, Sql, SqlValue } from '../../metadata/index.ts';
import { IS_LOST } from '../objects/index.ts';
import { expired, type Keep } from './keep.ts';
import type { Origin, Pin, Revision } from './pin.ts';

type Reading = Pick<Sql, 'query'>;

/** Names in one cache. Those of the manifest count, and are never refused. */
export const MOST_PINS = 10_000;

/** Revisions of one name: each stays where no rule says otherwise. */
export const MOST_REVISIONS = 10_000;

/** Rows in one answer of the database. */
const PAGE = 500;
/** The same for rows that are short. */
const HASHES_A_PAGE = 10_000;
/** The same of whole revisions, which may have 16 KiB of artifacts each. */
const REVISIONS_PAGE = 100;

const IS_PUBLISHED = `EXISTS (SELECT 1 FROM paths p WHERE p.hash_part = r.hash_part AND p.name = r.path_name AND NOT ${IS_LOST})`;

/** For lists of paths `p`: 1 where a revision of any name pins it, else null. EXISTS may read all of them for a page. */
export const FIRST_PIN = '(SELECT 1 FROM pin_revisions pr WHERE pr.hash_part = p.hash_part LIMIT 1)';

const COLUMNS = `r.name, r.revision, r.hash_part, r.path_name, r.artifacts, r.keep, r.keep_count, r.created_at, r.token, r.origin,
  CASE WHEN ${IS_PUBLISHED} THEN 1 ELSE 0 END AS is_present`;

const NEWEST = 'pins n JOIN pin_revisions r ON r.name = n.name AND r.revision = n.revision';

interface Row {
  name: string;
  revision: number;
  hash_part: string;
  path_name: string;
  artifacts: string;
  keep: string | null;
  keep_count: number | null;
  created_at: number;
  token: string | null;
  origin: Origin;
  is_present: number;
}

/** What became of a wish to pin. */
export type Added =
  | 'added'
  /** The newest revision says the same. */
  | 'same'
  /** The path is not published here. */
  | 'absent'
  /** The manifest owns the name. */
  | 'owned'
  /** There are as many names as may be. */
  | 'too many'
  /** The name has as many revisions as may be. */
  | 'too many revisions';

/** Adds a revision, unless the newest one says the same. A path of the manifest may be absent. */
export async function addRevision(
  sql: Sql,
  pin: Pin,
  { origin, token }: Pick<Revision, 'origin' | 'token'>,
  now: number,
): Promise<Added> {
  const isApi = origin === 'api';
  if (isApi && !(await isPublished(sql, pin.path))) return 'absent';
  const last = await lockOrMake(sql, pin.name);
  const newest = last === 0 ? undefined : await revisionOf(sql, pin.name, last);
  if (isApi && newest?.origin === 'manifest') return 'owned';
  if (newest !== undefined && newest.origin === origin && isSame(newest, pin)) return 'same';
  if (isApi && last === 0 && (await countNames(sql)) > MOST_PINS) {
    await sql.run([['DELETE FROM pins WHERE name = ?', pin.name]]);
    return 'too many';
  }
  const isRuled = pin.keep?.tag === 'Revisions' && pin.keep.contents < MOST_REVISIONS;
  if (isApi && !isRuled && (await countRevisions(sql, pin.name)) >= MOST_REVISIONS) return 'too many revisions';
  // Not before the one below it, whatever the clock of another server says: the oldest are the first to go.
  const createdAt = Math.max(now, newest?.createdAt ?? 0);
  await sql.run([
    ['UPDATE pins SET revision = ? WHERE name = ?', last + 1, pin.name],
    [
      `INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, keep, keep_count, created_at, token, origin)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      ...[pin.name, last + 1, pin.path.hashPart, pin.path.name, JSON.stringify(pin.artifacts)],
      ...[pin.keep?.tag ?? null, countOf(pin.keep), createdAt, token, origin],
    ],
  ]);
  return 'added';
}

/** Removes a name with all its revisions. */
export async function removeName(sql: Sql, name: string): Promise<'removed' | 'absent' | 'owned'> {
  const last = await lock(sql, name);
  if (last === undefined) return 'absent';
  if ((await revisionOf(sql, name, last))?.origin === 'manifest') return 'owned';
  await sql.run([['DELETE FROM pins WHERE name = ?', name]]);
  return 'removed';
}

/** A name has left the manifest: what tokens had pinned under it before is what it stands for again. */
export async function releaseName(sql: Sql, name: string): Promise<void> {
  if ((await lock(sql, name)) === undefined) return;
  await sql.query(`DELETE FROM pin_revisions WHERE name = ? AND origin = 'manifest'`, [name]);
  const [before] = await sql.query<{ revision: number | null }>(
    'SELECT max(revision) AS revision FROM pin_revisions WHERE name = ?',
    [name],
  );
  const last = before?.revision ?? null;
  await sql.run([
    last === null
      ? ['DELETE FROM pins WHERE name = ?', name]
      : ['UPDATE pins SET revision = ? WHERE name = ?', last, name],
  ]);
}

/** Drops some revisions of a name that its rule keeps no longer. How many. */
export async function dropExpired(sql: Sql, name: string, now: number): Promise<number> {
  const last = await lock(sql, name);
  const newest = last === undefined ? undefined : await revisionOf(sql, name, last);
  const gone = newest && expired(newest, now);
  if (gone === undefined) return 0;
  const rows = await sql.query(
    `DELETE FROM pin_revisions WHERE name = ? AND revision IN (
       SELECT revision FROM pin_revisions WHERE name = ? AND revision < ? AND created_at < ? ORDER BY revision LIMIT ${PAGE})
     RETURNING revision`,
    [name, name, gone.revision, gone.before],
  );
  return rows.length;
}

/** Names of which `dropExpired` has something to drop. */
export async function* namesToDrop(sql: Reading, now: number): AsyncGenerator<string> {
  interface Candidate {
    name: string;
    revision: number;
    keep: string | null;
    keep_count: number | null;
    oldest: number;
    oldest_at: number;
  }
  const pages = paged<Candidate>((after) =>
    sql.query(
      // Looked up for each row, since a planner would rather join with all there are.
      `SELECT n.name, r.revision, r.keep, r.keep_count,
         (SELECT o.revision FROM pin_revisions o WHERE o.name = n.name ORDER BY o.revision LIMIT 1) AS oldest,
         (SELECT o.created_at FROM pin_revisions o WHERE o.name = n.name ORDER BY o.revision LIMIT 1) AS oldest_at
       FROM ${NEWEST} WHERE n.name > ? AND r.keep IN ('Days', 'Revisions') ORDER BY n.name LIMIT ${PAGE}`,
      [after?.name ?? ''],
    ),
  );
  for await (const page of pages)
    for (const row of page) {
      const gone = expired({ revision: row.revision, keep: keepOf(row) }, now);
      if (gone !== undefined && row.oldest < gone.revision && row.oldest_at < gone.before) yield row.name;
    }
}

/** The newest revision of each name, by name. */
export function newestRevisions(sql: Reading): AsyncGenerator<Revision[]> {
  return paged(async (after) => {
    const text = `SELECT ${COLUMNS} FROM ${NEWEST} WHERE n.name > ? ORDER BY n.name LIMIT ${REVISIONS_PAGE}`;
    return (await sql.query<Row>(text, [after?.name ?? ''])).map(revisionOfRow);
  }, REVISIONS_PAGE);
}

/** All revisions of a name, the newest first. */
export function revisionsOf(sql: Reading, name: string): AsyncGenerator<Revision[]> {
  return paged(async (after) => {
    const text = `SELECT ${COLUMNS} FROM pin_revisions r WHERE r.name = ? AND r.revision < ? ORDER BY r.revision DESC LIMIT ${REVISIONS_PAGE}`;
    return (await sql.query<Row>(text, [name, after?.revision ?? 2 ** 31 - 1])).map(revisionOfRow);
  }, REVISIONS_PAGE);
}

/** The hash parts that any revision of any name pins, each once, by pages. */
export async function* pinnedHashParts(sql: Reading): AsyncGenerator<string[]> {
  // Without DISTINCT, for which a planner may sort all of them for each page. The next page begins behind the last one.
  const text = `SELECT hash_part FROM pin_revisions WHERE hash_part > ? ORDER BY hash_part LIMIT ${HASHES_A_PAGE}`;
  const pages = paged<{ hash_part: string }>((after) => sql.query(text, [after?.hash_part ?? '']), HASHES_A_PAGE);
  for await (const page of pages) yield [...new Set(page.map((row) => row.hash_part))];
}

/** What the manifest has pinned, by name. */
export async function manifestRevisions(sql: Reading): Promise<Revision[]> {
  const rows = await sql.query<Row>(`SELECT ${COLUMNS} FROM ${NEWEST} WHERE r.origin = 'manifest' ORDER BY n.name`);
  return rows.map(revisionOfRow);
}

/** Pins of the manifest whose path is not published here, by name. */
export async function missingPins(sql: Reading): Promise<Revision[]> {
  const text = `SELECT ${COLUMNS} FROM ${NEWEST} WHERE r.origin = 'manifest' AND NOT ${IS_PUBLISHED} ORDER BY n.name`;
  return (await sql.query<Row>(text)).map(revisionOfRow);
}

export async function namesOf(
  database: Pick<Database, 'query' | 'isOneOf' | 'list'>,
  hashParts: readonly string[],
): Promise<string[]> {
  const rows = await database.query<{ name: string }>(
    `SELECT DISTINCT name FROM pin_revisions WHERE ${database.isOneOf('hash_part')} ORDER BY name`,
    [database.list(hashParts)],
  );
  return rows.map((row) => row.name);
}

export async function countNames(sql: Reading): Promise<number> {
  const [row] = await sql.query<{ n: number }>('SELECT count(*) AS n FROM pins');
  return row?.n ?? 0;
}

async function countRevisions(sql: Reading, name: string): Promise<number> {
  const [row] = await sql.query<{ n: number }>('SELECT count(*) AS n FROM pin_revisions WHERE name = ?', [name]);
  return Number(row?.n ?? 0);
}

/** Whether a pin is what a revision says already. */
export function isSame(revision: Revision, { path, artifacts, keep }: Pin): boolean {
  return (
    revision.path.hashPart === path.hashPart &&
    revision.path.name === path.name &&
    JSON.stringify(revision.artifacts) === JSON.stringify(artifacts) &&
    revision.keep?.tag === keep?.tag &&
    countOf(revision.keep) === countOf(keep)
  );
}

async function isPublished(sql: Reading, { hashPart, name }: Pin['path']): Promise<boolean> {
  const text = `SELECT 1 FROM paths p WHERE p.hash_part = ? AND p.name = ? AND NOT ${IS_LOST}`;
  return (await sql.query(text, [hashPart, name])).length > 0;
}

/** The number of the newest revision of a name that nobody else changes now; undefined: there is no such name. */
async function lock(sql: Sql, name: string): Promise<number | undefined> {
  const rows = await sql.query<{ revision: number }>(
    'UPDATE pins SET revision = revision WHERE name = ? RETURNING revision',
    [name],
  );
  return rows[0]?.revision;
}

/** The same, and 0 for a name that was made for it. */
async function lockOrMake(sql: Sql, name: string): Promise<number> {
  const [row] = await sql.query<{ revision: number }>(
    `INSERT INTO pins (name, revision) VALUES (?, 0)
     ON CONFLICT (name) DO UPDATE SET revision = pins.revision RETURNING revision`,
    [name],
  );
  return row?.revision ?? 0;
}

async function revisionOf(sql: Reading, name: string, revision: number): Promise<Revision | undefined> {
  const text = `SELECT ${COLUMNS} FROM pin_revisions r WHERE r.name = ? AND r.revision = ?`;
  const [row] = await sql.query<Row>(text, [name, revision]);
  return row && revisionOfRow(row);
}

/** @param next what follows the last row of the page before, at most `size` rows */
async function* paged<T>(next: (after: T | undefined) => Promise<T[]>, size = PAGE): AsyncGenerator<T[]> {
  for (let after: T | undefined; ; ) {
    const page = await next(after);
    if (page.length > 0) yield page;
    if (page.length < size) return;
    after = page.at(-1);
  }
}

function revisionOfRow(row: Row): Revision {
  return {
    name: row.name,
    revision: row.revision,
    path: { hashPart: row.hash_part, name: row.path_name },
    artifacts: JSON.parse(row.artifacts) as string[],
    keep: keepOf(row),
    createdAt: row.created_at,
    token: row.token,
    origin: row.origin,
    isPresent: row.is_present === 1,
  };
}

function keepOf({ keep, keep_count: contents }: Pick<Row, 'keep' | 'keep_count'>): Keep {
  if (keep === 'Forever') return { tag: keep };
  if ((keep === 'Days' || keep === 'Revisions') && contents !== null) return { tag: keep, contents };
  // A later version may know other rules: what we do not understand drops nothing.
  return null;
}

function countOf(keep: Keep): SqlValue {
  return keep !== null && 'contents' in keep ? keep.contents : null;
}
