/** Counts for people. Each looks at a bounded number of rows: who asks waits for it, and may ask every few seconds. */
import type { Database } from '../../metadata/index.ts';

export interface RetiredSum {
  /** 100 000 where there may be more. */
  readonly paths: number;
  /** Of their NARs' files that no published path shares. */
  readonly bytes: number;
}

export const MOST_COUNTED = 100_000;

/** In the order of an index, so that one is read. Its plan is tested. */
export const OBJECT_COUNT_QUERY = `SELECT count(*) AS n FROM
  (SELECT 1 FROM objects WHERE storage = ? ORDER BY name LIMIT ${MOST_COUNTED}) AS few`;

export async function objectCounts(
  database: Pick<Database, 'query'>,
  storages: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const counts = storages.map(async (storage): Promise<[string, number]> => {
    const [row] = await database.query<{ n: number | string }>(OBJECT_COUNT_QUERY, [storage]);
    return [storage, Number(row?.n ?? 0)];
  });
  return new Map(await Promise.all(counts));
}

const RETIRED_SUM_QUERY = `WITH few AS (SELECT object_id FROM retired LIMIT ${MOST_COUNTED})
  SELECT (SELECT count(*) FROM few) AS paths, (SELECT sum(o.size) FROM objects o WHERE o.id IN (SELECT object_id FROM few)
    AND NOT EXISTS (SELECT 1 FROM paths p WHERE p.object_id = o.id)) AS bytes`;

export async function retiredSum(database: Pick<Database, 'query'>): Promise<RetiredSum> {
  const [row] = await database.query<{ paths: number | string; bytes: number | string | null }>(RETIRED_SUM_QUERY);
  return { paths: Number(row?.paths ?? 0), bytes: Number(row?.bytes ?? 0) };
}
