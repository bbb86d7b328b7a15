import assert from 'node:assert/strict';
import { pino } from 'pino';
import { Leases } from '../../server/cache/database/leases.ts';
import type { PostgresDatabase, Statement } from '../../server/metadata/index.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const logger = pino({ level: 'silent' });
const TTL_MS = 800;

describeWith('postgres', 'a lease on work that one server does', () => {
  let postgres: PostgresServer;
  let proxy: TcpProxy;
  const open: PostgresDatabase[] = [];
  let url: string;

  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres.remove());
  beforeEach(async () => {
    url = await postgres.createDatabase();
    proxy = await TcpProxy.start({ host: postgres.host, port: postgres.port });
  });
  afterEach(async () => {
    proxy.resume();
    for (const database of open.splice(0)) await database.close();
    await proxy.close();
  });

  async function connect(through = url): Promise<PostgresDatabase> {
    const database = await openSchema(through, { writePatienceMs: 10_000 });
    open.push(database);
    return database;
  }

  async function server(through = url): Promise<Leases> {
    return new Leases({ database: await connect(through), logger, ttlMs: TTL_MS });
  }

  /** Work that is there to do until its row says `done`. */
  const look = {
    where: [`EXISTS (SELECT 1 FROM meta WHERE key = ? AND value = 'open')`, 'work'],
    read: ['SELECT value FROM meta WHERE key = ?', 'work'],
  } as const;
  const ending: Statement = [`UPDATE meta SET value = 'done' WHERE key = 'work'`];
  const begin = (database: PostgresDatabase) =>
    database.script([[`INSERT INTO meta (key, value) VALUES ('work', 'open')`]]);

  it('is held by one at a time, and by another once it is given back', async () => {
    const [one, two] = [await server(), await server()];
    const lease = await one.acquire('work');
    assert.ok(lease);
    assert.equal(await one.acquire('work'), undefined);
    assert.equal(await two.acquire('work'), undefined);
    assert.ok(await two.acquire('other work'));
    await lease.release();
    assert.ok(await two.acquire('work'));
    assert.ok(!lease.signal.aborted);
  });

  it('is given to one of many who ask at the same moment', async () => {
    const servers = await Promise.all([server(), server(), server()]);
    const leases = await Promise.all(servers.map((it) => it.acquire('work')));
    assert.equal(leases.filter((it) => it !== undefined).length, 1);
  });

  it('is kept for longer than its time by who renews it', async () => {
    const [one, two] = [await server(), await server()];
    const lease = await one.acquire('work');
    const end = Date.now() + 3 * TTL_MS;
    await until('its time is over three times', async () => {
      assert.equal(await two.acquire('work'), undefined);
      return Date.now() > end;
    });
    assert.ok(!lease?.signal.aborted);
    await lease?.release();
  });

  it('ends with the work, for whoever waits for that: they see what was done', async () => {
    const [database, two] = [await connect(), await server()];
    await begin(database);
    const { lease, rows } = await new Leases({ database, logger, ttlMs: TTL_MS }).acquireAndLook('work', look);
    assert.ok(lease);
    assert.deepEqual(rows, [{ value: 'open' }]);
    let asking: ReturnType<typeof two.acquireAndLook> | undefined;
    await database.write(async (sql) => {
      await sql.run([ending, ...lease.end()]);
      asking = two.acquireAndLook('work', look);
      await postgres.untilBlocked();
    });
    lease.ended();
    const after = await asking;
    assert.deepEqual(after?.rows, [{ value: 'done' }]);
    // Its condition held when it was asked for.
    await after?.lease?.release();
    assert.ok(!lease.signal.aborted);
    assert.deepEqual(await database.query('SELECT 1 FROM leases'), []);
  });

  it('is not taken where there is nothing to do', async () => {
    const [database, one] = [await connect(), await server()];
    assert.deepEqual(await one.acquireAndLook('work', look), { lease: undefined, rows: [] });
    await begin(database);
    await database.script([ending]);
    assert.deepEqual(await one.acquireAndLook('work', look), { lease: undefined, rows: [{ value: 'done' }] });
    assert.deepEqual(await database.query('SELECT 1 FROM leases'), []);
  });

  it('does not come to life again by its renewal, once its row is gone', async () => {
    const [database, one] = [await connect(), await server()];
    const lease = await one.acquire('work');
    await database.script([['DELETE FROM leases']]);
    await until('its owner has heard of that', () => lease?.signal.aborted === true);
    assert.deepEqual(await database.query('SELECT 1 FROM leases'), []);
  });

  it('goes to another when its owner is cut off, who hears of it in time', async () => {
    const [one, two] = [await server(proxy.through(url)), await server()];
    const lease = await one.acquire('work');
    assert.ok(lease);
    proxy.pause();
    let abortedAt = 0;
    lease.signal.addEventListener('abort', () => {
      abortedAt = performance.now();
    });
    await until('another has it', async () => (await two.acquire('work')) !== undefined);
    await until('its owner stops', () => abortedAt > 0);
  });
});
