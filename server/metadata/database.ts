/** A cache's SQLite database: one connection that writes, a few that read. WAL lets both go on at once. */
import knexModule, { type Knex } from 'knex';
import type sqlite3 from 'sqlite3';
import { migrate } from './migrations.ts';
import type { Sql, SqlValue } from './sql.ts';
import { type Write, Writer } from './writer.ts';

export interface DatabaseInit {
  readonly file: string;
  readonly readers?: number;
  readonly onCommit?: (milliseconds: number, writes: number) => void;
}

/** FULL: a commit is on disk when it is acknowledged. The writer is alone, so busy_timeout only covers recovery. */
const WRITER_PRAGMAS = [
  'journal_mode = WAL',
  'synchronous = FULL',
  'foreign_keys = ON',
  'busy_timeout = 10000',
  'wal_autocheckpoint = 4000',
];
const READER_PRAGMAS = ['query_only = ON', 'busy_timeout = 10000', 'mmap_size = 268435456'];

export class Database implements Sql {
  readonly #writeKnex: Knex;
  readonly #readKnex: Knex;
  readonly #writer: Writer;

  private constructor(writeKnex: Knex, readKnex: Knex, init: DatabaseInit) {
    this.#writeKnex = writeKnex;
    this.#readKnex = readKnex;
    const transaction = <T>(work: (sql: Sql) => Promise<T>) => writeKnex.transaction((trx) => work(sqlOf(trx)));
    this.#writer = new Writer({ transaction, ...(init.onCommit && { onCommit: init.onCommit }) });
  }

  /** Opens or creates the file and brings its schema up to date. */
  static async open(init: DatabaseInit): Promise<Database> {
    const writeKnex = connect(init.file, 1, WRITER_PRAGMAS);
    try {
      await migrate(writeKnex);
      return new Database(writeKnex, connect(init.file, init.readers ?? 3, READER_PRAGMAS), init);
    } catch (error) {
      await writeKnex.destroy();
      throw error;
    }
  }

  /** Reads what was committed before the call; never waits for a write. */
  query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    return sqlOf(this.#readKnex).query<Row>(text, values);
  }

  /** Runs `write` in the next transaction; resolves once it is durable. */
  write<T>(write: Write<T>): Promise<T> {
    return this.#writer.write(write);
  }

  /** Writes that wait. */
  get queueLength(): number {
    return this.#writer.length;
  }

  /** Finishes what waits, folds the WAL into the file and closes. */
  async close(): Promise<void> {
    await this.#writer.idle();
    await this.#readKnex.destroy();
    await this.#writeKnex.raw('PRAGMA wal_checkpoint(TRUNCATE)');
    await this.#writeKnex.destroy();
  }
}

function connect(file: string, max: number, pragmas: readonly string[]): Knex {
  return knexModule({
    client: 'sqlite3',
    connection: { filename: file },
    useNullAsDefault: true,
    pool: {
      min: 1,
      max,
      idleTimeoutMillis: 2 ** 31 - 1,
      afterCreate(connection: sqlite3.Database, done: (error: Error | null, connection: sqlite3.Database) => void) {
        connection.exec(pragmas.map((pragma) => `PRAGMA ${pragma};`).join(''), (error) => done(error, connection));
      },
    },
  });
}

function sqlOf(knex: Knex): Sql {
  return {
    async query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
      // knex cannot type the rows of a text that it does not read; SQLite answers every statement with an array of them.
      return (await knex.raw(text, [...values])) as unknown as Row[];
    },
  };
}
