import assert from 'node:assert/strict';
import { pino } from 'pino';
import { Leases } from '../../server/cache/leases.ts';
import type { PostgresDatabase } from '../../server/metadata/index.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { until } from '../support/server.ts';

describe('leases of servers that share a database', () => {
  let postgres: PostgresServer;
  let databases: PostgresDatabase[];
  let a: Leases;
  let b: Leases;
  before(async () => {
    postgres = await PostgresServer.start();
    databases = [await openSchema(postgres.url()), await openSchema(postgres.url())];
    const logger = pino({ level: 'silent' });
    const leases = databases.map((database) => new Leases({ database, logger, ttlMs: 600 }));
    const [first, second] = leases;
    assert.ok(first && second);
    [a, b] = [first, second];
  });
  after(async () => {
    await Promise.all(databases.map((it) => it.close()));
    await postgres.remove();
  });

  it('are held by one at a time, for longer than they last without being renewed', async () => {
    const held = await a.acquire('work');
    assert.ok(held);
    assert.equal(await a.acquire('work'), undefined);
    const until = performance.now() + 1500;
    while (performance.now() < until) assert.equal(await b.acquire('work'), undefined);
    assert.equal(held.signal.aborted, false);
    await held.release();
    const next = await b.acquire('work');
    assert.ok(next);
    await next.release();
  });

  it('are taken by exactly one of many who ask at once', async () => {
    const all = await Promise.all([a, b, a, b].map((leases) => leases.acquire('rush')));
    const won = all.filter((lease) => lease !== undefined);
    assert.equal(won.length, 1);
    await won[0]?.release();
  });

  it('tell their owner when they are lost, and pass on', async () => {
    const held = await a.acquire('lost');
    assert.ok(held);
    await postgres.query(`UPDATE main.leases SET owner = 'somebody', expires_at = 0 WHERE name = 'lost'`);
    const next = await b.acquire('lost');
    assert.ok(next);
    await until('the owner hears of it', () => held.signal.aborted, 2000);
    await held.release();
    assert.equal(await a.acquire('lost'), undefined);
    await next.release();
  });
});
