/**
 * The one way to talk to a database: text with `?` and values in, rows out. Statements that change something say what
 * they changed with RETURNING, which SQLite and PostgreSQL share.
 */
export type SqlValue = string | number | null;

export interface Sql {
  query<Row>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
  /** Runs statements whose rows nobody needs, all in one trip to the database. */
  run(statements: readonly Statement[]): Promise<void>;
}

/** Text with `?` for the values, none of them inside a literal. */
export type Statement = readonly [text: string, ...values: SqlValue[]];

/** Whether a write failed because of a unique, foreign or NOT NULL constraint: what it assumed was not so. */
export function isConstraint(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'SQLITE_CONSTRAINT';
}

/** `?, ?, ?` for `count` values. */
export function placeholders(count: number): string {
  return Array(count).fill('?').join(', ');
}

/** SQLite takes at most 32 766 variables and plans long lists slowly: lists go in slices of this size. */
const LIST_SLICE = 500;

/** `values` in slices, so that no statement holds an unbounded list. */
export function* slices<T>(values: readonly T[], size = LIST_SLICE): Generator<T[]> {
  for (let start = 0; start < values.length; start += size) yield values.slice(start, start + size);
}
