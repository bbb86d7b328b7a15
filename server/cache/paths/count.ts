/** How many paths a shared database has: exact while they are few, the planner's estimate where counting would cost. */
import type { Database } from '../../metadata/index.ts';

const COUNTED = 100_000;
const REFRESH_MS = 60_000;

/** Counts up to a bound; beyond it, what the last ANALYZE found. */
export const COUNT_QUERY = `SELECT (SELECT count(*) FROM (SELECT 1 FROM paths LIMIT ${COUNTED}) AS few) AS few,
  (SELECT reltuples FROM pg_class WHERE oid = to_regclass('paths')) AS estimate`;

export class PathCount {
  readonly #database: Database;
  #value = 0;
  #readAt = Number.NEGATIVE_INFINITY;

  constructor(database: Database) {
    this.#database = database;
  }

  /** As of a minute ago at most; asking for it begins to find out. */
  get value(): number {
    // Whoever asks hears what was known; where the database is away, that stays.
    if (performance.now() - this.#readAt > REFRESH_MS) this.refresh().catch(() => {});
    return this.#value;
  }

  async refresh(): Promise<void> {
    this.#readAt = performance.now();
    const [row] = await this.#database.query<{ few: number; estimate: number | null }>(COUNT_QUERY);
    if (row === undefined) return;
    this.#value = row.few < COUNTED ? row.few : Math.max(row.few, Math.round(row.estimate ?? 0));
  }
}
