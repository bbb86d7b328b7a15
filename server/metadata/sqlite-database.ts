/** A cache's SQLite database: one connection that writes, a few that read. WAL lets both go on at once. */
import { statfs } from 'node:fs/promises';
import path from 'node:path';
import type { Database } from './database.ts';
import { DatabaseError } from './errors.ts';
import { schemaState } from './migrations.ts';
import type { SqlValue, Statement } from './sql.ts';
import { SqliteConnection } from './sqlite.ts';
import { BACKUP, openingError } from './sqlite-errors.ts';
import { type Durability, type Write, Writer } from './writer.ts';

export interface SqliteDatabaseInit {
  readonly file: string;
  /** Version of this server; the database may need a later one. Absent: older than any. */
  readonly version?: string;
  /** Whether a file without anything in it is a new database; false: it was one, and is damaged. Absent: it is new. */
  readonly mayBegin?: boolean;
  readonly readers?: number;
  readonly onCommit?: (milliseconds: number, writes: number) => void;
}

/** The writer is alone, so busy_timeout only covers recovery; `synchronous` is set by each transaction. */
const WRITER_PRAGMAS = ['journal_mode = WAL', 'foreign_keys = ON', 'busy_timeout = 10000', 'wal_autocheckpoint = 4000'];
/** No mmap: a disk that fails would end the process by a signal, and each reader would count the file as its memory. */
const READER_PRAGMAS = ['query_only = ON', 'busy_timeout = 10000', 'cache_size = -8000'];

export class SqliteDatabase implements Database {
  readonly isShared = false;
  readonly bytewise = '';
  readonly connections = undefined;
  readonly announcing = '';
  /** Migrations that opening it has applied. */
  readonly applied: readonly string[];
  readonly #folder: string;
  readonly #connection: SqliteConnection;
  readonly #readers: readonly SqliteConnection[];
  readonly #writer: Writer;
  #turn = 0;

  private constructor(
    connection: SqliteConnection,
    readers: readonly SqliteConnection[],
    applied: readonly string[],
    init: SqliteDatabaseInit,
  ) {
    this.applied = applied;
    this.#folder = path.dirname(init.file);
    this.#connection = connection;
    this.#readers = readers;
    this.#writer = new Writer({
      transaction: (work) => connection.transaction(work),
      script: (statements, durability) => connection.script(statements, durability),
      ...(init.onCommit && { onCommit: init.onCommit }),
    });
  }

  /** Opens or creates the file and brings its schema up to date. @throws DatabaseError, NewerDatabaseError */
  static async open(init: SqliteDatabaseInit): Promise<SqliteDatabase> {
    const connections: SqliteConnection[] = [];
    try {
      const connection = await SqliteConnection.open(init.file, WRITER_PRAGMAS);
      connections.push(connection);
      const tables = await connection.query<{ name: string }>(
        `SELECT name FROM sqlite_master WHERE name IN ('knex_migrations', 'meta')`,
      );
      const names = new Set(tables.map((table) => table.name));
      if (names.size === 0 && init.mayBegin === false)
        throw new DatabaseError(
          'Damaged',
          `${init.file} is empty, and keys or storages beside it are of a cache that has lived; ${BACKUP}, or remove it to begin anew with these keys`,
        );
      let applied: string[] = [];
      if ((await schemaState(connection, names, init.version ?? '')) === 'outdated') {
        const { migrateSqlite } = await import('./migrate.ts');
        applied = await migrateSqlite(init.file);
      }
      for (let i = 0; i < (init.readers ?? 3); i++)
        connections.push(await SqliteConnection.open(init.file, READER_PRAGMAS));
      return new SqliteDatabase(connection, connections.slice(1), applied, init);
    } catch (error) {
      await Promise.allSettled(connections.map((it) => it.close()));
      throw openingError(init.file, error);
    }
  }

  isOneOf(column: string): string {
    return `${column} IN (SELECT value FROM json_each(?))`;
  }

  each(name: string): string {
    return `json_each(?) AS ${name}`;
  }

  list(values: readonly string[] | readonly number[]): SqlValue {
    return JSON.stringify(values);
  }

  announce(): Statement[] {
    return [];
  }

  watch(): () => void {
    return () => {};
  }

  /** Writes have an order here: what begins now sees all that began before. */
  async settled(): Promise<void> {}

  async ping(): Promise<void> {
    const damaged = [this.#connection, ...this.#readers].find((it) => it.damage !== undefined);
    if (damaged?.damage !== undefined) throw damaged.damage;
    await this.query('SELECT 1');
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#folder);
    return bavail * bsize;
  }

  /** Never waits for a write. */
  query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    this.#turn = (this.#turn + 1) % this.#readers.length;
    const reader = this.#readers[this.#turn];
    return reader === undefined ? Promise.reject(new Error('no reader')) : reader.query<Row>(text, values);
  }

  write<T>(write: Write<T>): Promise<T> {
    return this.#writer.write(write);
  }

  script(statements: readonly Statement[], durability: Durability = 'disk'): Promise<void> {
    return this.#writer.script(statements, durability);
  }

  together<Row>(statements: readonly Statement[]): Promise<Row[][]> {
    return this.#writer.write(async (sql) => {
      const rows: Row[][] = [];
      for (const [text, ...values] of statements) rows.push(await sql.query<Row>(text, values));
      return rows;
    });
  }

  get queueLength(): number {
    return this.#writer.length;
  }

  /** Finishes what waits, folds the WAL into the file and closes. */
  async close(): Promise<void> {
    await this.#writer.idle();
    await Promise.all(this.#readers.map((reader) => reader.close()));
    await this.#connection.query('PRAGMA wal_checkpoint(TRUNCATE)');
    await this.#connection.close();
  }
}
