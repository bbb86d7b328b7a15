/** Retired paths whose grace is over: their rows go, and their NARs where nothing else points at them. */
import type { Logger } from 'pino';
import type { Database, Sql } from '../../metadata/index.ts';
import { crashPoint } from '../../storage/index.ts';
import { type Objects, orphanStatements, tombstone } from '../objects/index.ts';

export interface ExpireInit {
  readonly database: Database;
  readonly objects: Pick<Objects, 'forget' | 'collect'>;
  readonly logger: Logger;
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
    const listings = await database.write((sql) => forget(database, sql, hashParts, before));
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

/** The keys of what went with them. Who was brought back meanwhile stays. */
export async function forget(
  database: Database,
  sql: Sql,
  hashParts: readonly string[],
  before: number,
): Promise<string[]> {
  const rows = await sql.query<{ hash_part: string; object_id: number }>(
    `DELETE FROM retired WHERE ${database.isOneOf('hash_part')} AND retired_at <= CAST(? AS bigint)
     RETURNING hash_part, object_id`,
    [database.list(hashParts), before],
  );
  await sql.run(
    orphanStatements(
      database,
      rows.map((row) => row.object_id),
    ),
  );
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
  return listings.map((row) => row.key);
}
