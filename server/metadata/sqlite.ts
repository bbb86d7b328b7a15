/**
 * SQLite connections with prepared statements. knex builds the schema (one set of migrations for SQLite and
 * PostgreSQL), but runs no statement of a request: compiling each text anew cost 110 us a statement where a prepared
 * one costs 30, and every push waits for a dozen of them, one after the other.
 */
import sqlite3 from 'sqlite3';
import type { Sql, SqlValue } from './sql.ts';

export class SqliteConnection implements Sql {
  readonly #db: sqlite3.Database;
  readonly #statements = new Map<string, sqlite3.Statement>();

  private constructor(db: sqlite3.Database) {
    this.#db = db;
  }

  static async open(file: string, pragmas: readonly string[]): Promise<SqliteConnection> {
    const db = await new Promise<sqlite3.Database>((resolve, reject) => {
      const opened = new sqlite3.Database(file, (error) => (error ? reject(error) : resolve(opened)));
    });
    const connection = new SqliteConnection(db);
    await connection.exec(pragmas.map((pragma) => `PRAGMA ${pragma};`).join(''));
    return connection;
  }

  query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      this.#prepare(text).all<Row>([...values], (error, rows) => (error ? reject(error) : resolve(rows)));
    });
  }

  exec(text: string): Promise<void> {
    return new Promise((resolve, reject) => this.#db.exec(text, (error) => (error ? reject(error) : resolve())));
  }

  async transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    await this.query('BEGIN IMMEDIATE');
    try {
      const result = await work(this);
      await this.query('COMMIT');
      return result;
    } catch (error) {
      // After some errors SQLite has rolled back by itself.
      await this.query('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all(
      [...this.#statements.values()].map(
        (statement) => new Promise<void>((resolve) => statement.finalize(() => resolve())),
      ),
    );
    await new Promise<void>((resolve, reject) => this.#db.close((error) => (error ? reject(error) : resolve())));
  }

  /** Texts are constants of this program, so there are some dozens of them. */
  #prepare(text: string): sqlite3.Statement {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      // An error of the preparation reaches the callback of the first use too.
      statement = this.#db.prepare(text, (error) => {
        if (error) this.#statements.delete(text);
      });
      this.#statements.set(text, statement);
    }
    return statement;
  }
}
