/** Two servers on one PostgreSQL schema, and what must be true of both. */
import assert from 'node:assert/strict';
import type { TestPath } from './nars.ts';
import type { PostgresServer } from './postgres.ts';
import { until } from './server.ts';
import { assertSoundRows } from './sound-rows.ts';
import { StoppableServer } from './stoppable-server.ts';

export class ServerPair {
  readonly a: StoppableServer;
  readonly b: StoppableServer;

  private constructor(a: StoppableServer, b: StoppableServer) {
    this.a = a;
    this.b = b;
  }

  static async open(postgres: PostgresServer): Promise<ServerPair> {
    const url = await postgres.createDatabase();
    return new ServerPair(await StoppableServer.open(url), await StoppableServer.open(url));
  }

  async close(): Promise<void> {
    for (const server of [this.a, this.b]) await server.close();
  }

  /** All that is done in the background is done, and the rows agree. */
  async sound(): Promise<void> {
    for (const server of [this.a, this.b]) await server.tend();
    await assertSoundRows(this.a.database);
  }

  served = (...all: readonly TestPath[]) => this.#everywhere(all, true);
  gone = (...all: readonly TestPath[]) => this.#everywhere(all, false);

  async #everywhere(all: readonly TestPath[], isServed: boolean): Promise<void> {
    for (const server of [this.a, this.b])
      for (const it of all)
        await until(`${it.name} is ${isServed ? '' : 'not '}served`, async () => {
          return ((await server.paths.find(it.hashPart)) !== undefined) === isServed;
        });
  }

  /** Some transaction waits for another one. */
  async waitsForLock(): Promise<void> {
    await this.#activity('a transaction waits for another one', `wait_event_type = 'Lock'`);
  }

  /** A collection looks again and again whether older transactions are over. */
  async waitsForOlder(): Promise<void> {
    await this.#activity(
      'a collection waits for older transactions',
      `query LIKE '%pg_snapshot_xmin(pg_current_snapshot()) >=%' AND pid <> pg_backend_pid()`,
    );
  }

  async #activity(what: string, condition: string): Promise<void> {
    await until(what, async () => {
      const rows = await this.a.database.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND ${condition}`,
      );
      return rows.length > 0;
    });
  }

  /** Nobody needs these any more, and there is nothing else: all goes, with its NARs. */
  async empty(...all: readonly TestPath[]): Promise<void> {
    const { a } = this;
    await a.age(...all);
    await a.collect();
    await a.expire();
    await a.dropOrphans();
    assert.deepEqual(await a.database.query(`SELECT key FROM objects WHERE state <> 'tombstoned'`), []);
  }
}
