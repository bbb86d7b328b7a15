import assert from 'node:assert/strict';
import { pino } from 'pino';
import { Leases } from '../../server/cache/database/leases.ts';
import type { PostgresDatabase } from '../../server/metadata/index.ts';
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

  async function server(through = url): Promise<Leases> {
    const database = await openSchema(through, { writePatienceMs: 10_000 });
    open.push(database);
    return new Leases({ database, logger, ttlMs: TTL_MS });
  }

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
