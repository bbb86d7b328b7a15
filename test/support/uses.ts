/** Uses of a database without the rest of a cache. */
import { pino } from 'pino';
import { Uses } from '../../server/cache/use/index.ts';
import type { Database } from '../../server/metadata/index.ts';

export function usesOf(database: Database): Uses {
  return new Uses({ database, settings: { useFlushMs: 3600_000 }, logger: pino({ level: 'silent' }) });
}

/** Rows, when their paths were used. */
export async function useRows(database: Pick<Database, 'query'>): Promise<Map<string, number>> {
  const rows = await database.query<{ hash_part: string; used_at: number }>('SELECT hash_part, used_at FROM uses');
  return new Map(rows.map((row) => [row.hash_part, Number(row.used_at)]));
}
