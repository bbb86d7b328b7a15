/** Retired paths whose grace is over: their rows go, and their NARs where nothing else points at them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import { crashPoint } from '../../storage/index.ts';
import { type Objects, orphanStatements, tombstone, tombstoneOrphan } from '../objects/index.ts';

export interface ExpireInit {
  readonly database: Database;
  readonly objects: Pick<Objects, 'forget' | 'collect' | 'idle'>;
  readonly logger: Logger;
}

interface Expired {
  readonly hash_part: string;
  readonly name: string;
  readonly object_id: number;
  readonly reason: string;
  readonly used_at: number;
  readonly retired_at: number;
  readonly actor: string | null;
}

const BATCH = 200;

/** Its plan is tested. */
export const EXPIRED_QUERY = `SELECT hash_part FROM retired WHERE retired_at <= ? ORDER BY retired_at LIMIT ${BATCH}`;

/** Forgets what was retired at `before` or earlier; how many paths. Their NARs are orphans from then on. */
export async function expireRetired(init: ExpireInit, before: number, signal: AbortSignal): Promise<number> {
  const { database, objects, logger } = init;
  let gone = 0;
  while (!signal.aborted) {
    const rows = await database.query<{ hash_part: string }>(EXPIRED_QUERY, [before]);
    if (rows.length === 0) break;
    const hashParts = rows.map((row) => row.hash_part);
    const { listings } = await database.write((sql) => forget(database, sql, hashParts, before));
    for (const key of listings) objects.forget(key);
    gone += rows.length;
    crashPoint('after-expire');
    if (rows.length < BATCH) break;
  }
  if (gone > 0) {
    logger.info({ paths: gone }, 'the grace of retired paths is over');
    objects.collect();
  }
  return gone;
}

export interface Removal {
  readonly hashParts: readonly string[];
  /** Objects that such a path had before. */
  readonly earlier: readonly number[];
  /** A NAR that nobody may have any more, in whatever form it came. */
  readonly narHash: string | undefined;
}

/**
 * The same at once for some, with the bytes of their NARs where no other path has them. Names of storages where bytes still
 * lie, since they are away. @throws AbortError
 */
export async function removeNow(
  init: ExpireInit,
  { hashParts, earlier, narHash }: Removal,
  signal: AbortSignal,
): Promise<string[]> {
  const { database, objects } = init;
  const nars = new Set(earlier);
  for (let start = 0; start < hashParts.length; start += BATCH) {
    const some = hashParts.slice(start, start + BATCH);
    const gone = await database.write((sql) => forget(database, sql, some, Number.MAX_SAFE_INTEGER));
    for (const id of gone.nars) nars.add(id);
    for (const key of gone.listings) objects.forget(key);
  }
  // Other files of the same NAR, which no path has got.
  const others = await database.query<{ id: number }>(
    `SELECT id FROM objects WHERE nar_hash = ? AND orphan_since IS NOT NULL AND state <> 'tombstoned'`,
    [narHash ?? null],
  );
  for (const { id } of others) nars.add(id);
  const ids: number[] = [];
  for (const id of nars) {
    const [row] = await database.query<{ key: string | null; size: number }>(
      'SELECT key, size FROM objects WHERE id = ?',
      [id],
    );
    if (!row || !(await database.write((sql) => tombstoneOrphan(sql, id, Number.MAX_SAFE_INTEGER)))) continue;
    ids.push(id, ...(await database.write((sql) => hasten(sql, row.size))));
    if (row.key !== null) objects.forget(row.key);
  }
  objects.collect();
  await objects.idle();
  for (let attempt = 0; ; attempt++) {
    const left = await database.query<{ storage: string }>(
      `SELECT DISTINCT storage FROM objects WHERE ${database.isOneOf('id')} ORDER BY storage`,
      [database.list(ids)],
    );
    if (left.length === 0 || attempt === LOOKS) return left.map((row) => row.storage);
    await sleep(LOOK_MS, undefined, { signal });
    objects.collect();
    await objects.idle();
  }
}

/** Bytes that were moved away wait for readers, and nobody knows whose they were: those of a size go now. Their ids. */
async function hasten(sql: Sql, size: number): Promise<number[]> {
  const rows = await sql.query<{ id: number }>(
    `UPDATE objects SET delete_after = NULL
     WHERE state = 'tombstoned' AND delete_after IS NOT NULL AND size = CAST(? AS bigint) RETURNING id`,
    [size],
  );
  return rows.map((row) => row.id);
}

/** How often is looked whether bytes are gone: a storage may be slow, or another server removes them. */
const LOOKS = 10;
const LOOK_MS = 200;
/** Older ones are forgotten. */
export const MOST_REMOVED = 100_000;

/** What went with them: ids of NARs that may be orphans now, keys of listings. Who was brought back meanwhile stays. */
export async function forget(
  database: Database,
  sql: Sql,
  hashParts: readonly string[],
  before: number,
): Promise<{ nars: number[]; listings: string[] }> {
  const rows = await sql.query<Expired>(
    `DELETE FROM retired WHERE ${database.isOneOf('hash_part')} AND retired_at <= CAST(? AS bigint)
     RETURNING hash_part, name, object_id, reason, used_at, retired_at, actor`,
    [database.list(hashParts), before],
  );
  const nars = rows.map((row) => row.object_id);
  await sql.run([...orphanStatements(database, nars), ...rows.map(removedStatement)]);
  // In two looks: as one, all paths would be read.
  const gone = rows.map((row) => row.hash_part);
  const back = await sql.query<{ hash_part: string }>(
    `SELECT hash_part FROM paths WHERE ${database.isOneOf('hash_part')}`,
    [database.list(gone)],
  );
  const published = new Set(back.map((row) => row.hash_part));
  const listings = await sql.query<{ id: number; key: string }>(
    `SELECT id, key FROM objects WHERE ${database.isOneOf('key')}`,
    [database.list(gone.filter((hashPart) => !published.has(hashPart)).map((hashPart) => `${hashPart}.ls`))],
  );
  for (const { id } of listings) await tombstone(sql, id);
  return { nars, listings: listings.map((row) => row.key) };
}

function removedStatement({ hash_part, name, reason, used_at, retired_at, actor }: Expired): Statement {
  return [
    `INSERT INTO removed (hash_part, name, removed_at, reason, used_at, actor) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (hash_part) DO UPDATE SET name = excluded.name, removed_at = excluded.removed_at,
       reason = excluded.reason, used_at = excluded.used_at, actor = excluded.actor`,
    hash_part,
    name,
    retired_at,
    reason,
    used_at,
    actor,
  ];
}

/** Forgets why the oldest are gone. */
export async function trimRemoved(database: Database): Promise<void> {
  await database.script(
    [
      [
        `DELETE FROM removed WHERE removed_at < (SELECT removed_at FROM removed ORDER BY removed_at DESC LIMIT 1 OFFSET ${MOST_REMOVED})`,
      ],
    ],
    'process',
  );
}
