/**
 * SQLite connections with prepared statements. knex builds the schema (one set of migrations for SQLite and
 * PostgreSQL), but runs no statement of a request: compiling each text anew cost 110 us a statement where a prepared
 * one costs 30. Writes that need no look in between go as one script.
 */
import sqlite3 from 'sqlite3';
import { DatabaseError } from './errors.ts';
import type { Sql, SqlValue, Statement } from './sql.ts';
import { sqliteError } from './sqlite-errors.ts';
import type { Durability } from './writer.ts';

/**
 * Each transaction says how durable it is, so that none inherits it from another. With WAL, NORMAL leaves the commit
 * in the system's page cache; the next FULL commit syncs all that lies before it (sqlite.org/pragma.html).
 */
const BEGIN = {
  disk: 'PRAGMA synchronous = FULL;BEGIN IMMEDIATE;',
  process: 'PRAGMA synchronous = NORMAL;BEGIN IMMEDIATE;',
} as const satisfies Record<Durability, string>;

export class SqliteConnection implements Sql {
  readonly #db: sqlite3.Database;
  readonly #file: string;
  readonly #statements = new Map<string, sqlite3.Statement>();
  readonly #preparing = new Map<string, Promise<sqlite3.Statement>>();
  /** What was found of a file that is damaged: it does not heal by itself. */
  damage: DatabaseError | undefined;
  /** Whether a rollback failed, so that its transaction may still be open. */
  #isLeftOpen = false;

  private constructor(db: sqlite3.Database, file: string) {
    this.#db = db;
    this.#file = file;
  }

  static async open(file: string, pragmas: readonly string[]): Promise<SqliteConnection> {
    const db = await new Promise<sqlite3.Database>((resolve, reject) => {
      const opened = new sqlite3.Database(file, (error) =>
        error ? reject(sqliteError(file, error)) : resolve(opened),
      );
    });
    const connection = new SqliteConnection(db, file);
    try {
      await connection.exec(pragmas.map((pragma) => `PRAGMA ${pragma};`).join(''));
      return connection;
    } catch (error) {
      await connection.close().catch(() => {});
      throw error;
    }
  }

  async query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    const statement = this.#statements.get(text) ?? (await this.#prepare(text));
    return new Promise((resolve, reject) => {
      statement.all<Row>([...values], (error, rows) => (error ? reject(this.#explained(error)) : resolve(rows)));
    });
  }

  run(statements: readonly Statement[]): Promise<void> {
    return this.exec(statements.map(literal).join(''));
  }

  /**
   * A whole transaction in one trip. Each statement on its own is a trip through the thread pool and back, and on a
   * busy machine the waiting for a thread costs ten times the statement.
   */
  async script(statements: readonly Statement[], durability: Durability): Promise<void> {
    if (this.#isLeftOpen) await this.#rollBack();
    try {
      await this.exec(`${BEGIN[durability]}${statements.map(literal).join('')}COMMIT;`);
    } catch (error) {
      await this.#rollBack();
      throw error;
    }
  }

  exec(text: string): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#db.exec(text, (error) => (error ? reject(this.#explained(error)) : resolve())),
    );
  }

  async transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    if (this.#isLeftOpen) await this.#rollBack();
    try {
      await this.exec(BEGIN.disk);
      const result = await work(this);
      await this.query('COMMIT');
      return result;
    } catch (error) {
      await this.#rollBack();
      throw error;
    }
  }

  #explained(error: unknown): unknown {
    const explained = sqliteError(this.#file, error);
    if (explained instanceof DatabaseError && explained.code === 'Damaged') this.damage = explained;
    return explained;
  }

  /** After some errors SQLite has rolled back by itself. Where it could not, the next transaction tries again first. */
  async #rollBack(): Promise<void> {
    this.#isLeftOpen = await this.exec('ROLLBACK').then(
      () => false,
      (error: unknown) => !/no transaction is active/.test(String(error)),
    );
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#preparing.values());
    await Promise.all(
      [...this.#statements.values()].map(
        (statement) => new Promise<void>((resolve) => statement.finalize(() => resolve())),
      ),
    );
    await new Promise<void>((resolve, reject) => this.#db.close((error) => (error ? reject(error) : resolve())));
  }

  /**
   * Texts are constants of this program, so there are some dozens of them. Nothing is asked of a statement before it is
   * prepared: where the preparation fails (an unreadable file, no descriptor left), sqlite3 drops the calls that wait
   * for it without a word, and whoever made them would wait for ever.
   */
  #prepare(text: string): Promise<sqlite3.Statement> {
    let preparing = this.#preparing.get(text);
    if (preparing === undefined) {
      preparing = new Promise<sqlite3.Statement>((resolve, reject) => {
        const statement = this.#db.prepare(text, (error) => {
          this.#preparing.delete(text);
          if (error) reject(this.#explained(error));
          else {
            this.#statements.set(text, statement);
            resolve(statement);
          }
        });
      });
      this.#preparing.set(text, preparing);
    }
    return preparing;
  }
}

/** A statement with its values written out, since a text of several statements takes no parameters. */
function literal([text, ...values]: Statement): string {
  const pieces = text.split('?');
  if (pieces.length !== values.length + 1) throw new Error(`${values.length} values for: ${text}`);
  return `${pieces.map((piece, index) => (index === 0 ? piece : quote(values[index - 1] ?? null) + piece)).join('')};`;
}

/** SQLite's literals (lang_expr.html): in a text only the quote is special; a NUL would end it. */
function quote(value: SqlValue): string {
  if (value === null) return 'NULL';
  if (typeof value === 'object') throw new Error('a list goes through list()');
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new Error('not a number that SQLite has');
    return String(value);
  }
  if (value.includes('\0')) throw new Error('a NUL in a value');
  return `'${value.replaceAll("'", "''")}'`;
}
