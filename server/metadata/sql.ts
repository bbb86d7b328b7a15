/**
 * The one way to talk to a database: text with `?` and values in, rows out. Statements that change something say what
 * they changed with RETURNING, which SQLite and PostgreSQL share.
 */
export type SqlValue = string | number | null | readonly string[] | readonly number[];

export interface Sql {
  query<Row>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
  /** Runs statements whose rows nobody needs, all in one trip to the database. */
  run(statements: readonly Statement[]): Promise<void>;
}

/** Text with `?` for the values, none of them inside a literal. */
export type Statement = readonly [text: string, ...values: SqlValue[]];

/** Whether a write failed because of a unique, foreign or NOT NULL constraint: what it assumed was not so. */
export function isConstraint(error: unknown): boolean {
  if (!(error instanceof Error && 'code' in error && typeof error.code === 'string')) return false;
  // PostgreSQL: class 23, integrity constraint violation.
  return error.code === 'SQLITE_CONSTRAINT' || /^23[0-9A-Z]{3}$/.test(error.code);
}
