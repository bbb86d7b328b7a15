/**
 * A cache's database: SQLite in one process, or a PostgreSQL schema that several servers share. Statements are written
 * once, in what both take; where they differ, the differences are named here.
 */
import type { Sql, SqlValue, Statement } from './sql.ts';
import type { Durability, Write } from './writer.ts';

/** What a server hears of the writes of the others. */
export interface ChangeListener {
  /** The path of this hash part was published, changed or removed. */
  onChange(hashPart: string): void;
  /** Changes may have been missed, or may be missed from now on: nothing that is remembered counts. */
  onGap(): void;
  /** Changes are heard again. */
  onLive(): void;
}

export interface Database extends Pick<Sql, 'query'> {
  /** Whether other processes write too. Then what memory knows may be old, and work for one needs a lease. */
  readonly isShared: boolean;
  /** Reads what was committed before the call. */
  query<Row>(text: string, values?: readonly SqlValue[]): Promise<Row[]>;
  /** Runs `write` in a transaction; resolves once it is durable. It may run more than once. */
  write<T>(write: Write<T>): Promise<T>;
  /** Runs statements in one transaction and one trip; resolves once they are as durable as asked for. */
  script(statements: readonly Statement[], durability?: Durability): Promise<void>;
  /** Runs statements in a transaction of their own, in one trip where that can be; the rows of each, once it is durable. */
  together<Row>(statements: readonly Statement[]): Promise<Row[][]>;
  /** A condition with one `?`, for which `list(values)` stands: no statement holds a list of unbounded length. */
  isOneOf(column: string): string;
  /** A table of that name with a column `value` and one `?`, for which `list(values)` stands. */
  each(name: string): string;
  /** After a column of text: it is compared byte by byte, whatever the locale. */
  readonly bytewise: string;
  list(values: readonly string[] | readonly number[]): SqlValue;
  /** Statements that tell other servers of changed paths, for the transaction that changes them. */
  announce(hashParts: readonly string[]): Statement[];
  /** The same as the end of a statement that writes rows of paths: for each of them, by its `hash_part`. */
  readonly announcing: string;
  /** Listens to the changes of other servers until the function that it returns is called. */
  watch(listener: ChangeListener): () => void;
  /** Resolves once all transactions that write and had begun before are over. @throws AbortError */
  settled(signal: AbortSignal): Promise<void>;
  /** One look at whether it answers, without patience. @throws DatabaseError Damaged, where that was noticed */
  ping(): Promise<void>;
  /** What is free where it writes; undefined where that is not ours to know. */
  freeBytes(): Promise<number | undefined>;
  /** Writes that wait. */
  readonly queueLength: number;
  /** Connections by what they do now; undefined where they are no network connections. */
  readonly connections: { readonly total: number; readonly idle: number; readonly waiting: number } | undefined;
  /** Finishes what waits and closes. */
  close(): Promise<void>;
}
