/** Collections beside pushes on another server, with either stopped before its COMMIT: nothing goes that something needs. */
import assert from 'node:assert/strict';
import { addHeld } from '../../server/cache/pins/hold.ts';
import { refer } from '../support/paths.ts';
import { PostgresServer } from '../support/postgres.ts';
import { until } from '../support/server.ts';
import { ServerPair } from '../support/server-pair.ts';
import { assertSoundRows } from '../support/sound-rows.ts';
import type { StoppableServer } from '../support/stoppable-server.ts';

const SWEEP = { commitOf: /DELETE FROM paths/ };
const PUBLISH = { commitOf: /INSERT INTO paths/ };

describe('collections of servers that share a database', () => {
  let postgres: PostgresServer;
  let pair: ServerPair;
  let a: StoppableServer;
  let b: StoppableServer;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  beforeEach(async () => {
    pair = await ServerPair.open(postgres);
    ({ a, b } = pair);
  });
  afterEach(() => pair.close());
  after(() => postgres.remove());

  for (const nar of ['new', 'known'] as const) {
    it(`a push that needs what is being swept brings it back (${nar} NAR)`, async () => {
      const leaf = refer('leaf');
      const lib = refer('lib', leaf);
      const top = refer('top', lib);
      for (const it of [leaf, lib]) await a.publish(it);
      if (nar === 'known') await b.store(top);
      await a.age(leaf, lib);
      const sweep = await a.half(SWEEP, () => a.collect());
      const pushing = b.publish(top, nar);
      await pair.waitsForLock();
      await sweep();
      assert.equal(await pushing, 'published');
      await pair.served(leaf, lib, top);
      await pair.sound();
    });

    it(`what a push needs that is about to commit is not swept (${nar} NAR)`, async () => {
      const leaf = refer('leaf');
      const lib = refer('lib', leaf);
      const top = refer('top', lib);
      for (const it of [leaf, lib]) await a.publish(it);
      if (nar === 'known') await b.store(top);
      await a.age(leaf, lib);
      const sweep = await a.half({ after: /UPDATE collection SET run = run WHERE|SELECT hash_part FROM uses/ }, () =>
        a.collect(),
      );
      const push = await b.half(PUBLISH, () => b.publish(top, nar));
      const sweeping = sweep();
      await pair.waitsForLock();
      assert.equal(await push(), 'published');
      await sweeping;
      assert.deepEqual(await a.database.query('SELECT 1 FROM retired'), []);
      await pair.served(leaf, lib, top);
      await pair.sound();
    });

    it(`a collection waits for a push that began before it (${nar} NAR)`, async () => {
      const lib = refer('lib');
      const top = refer('top', lib);
      await a.publish(lib);
      if (nar === 'known') await b.store(top);
      await a.age(lib);
      const push = await b.half(PUBLISH, () => b.publish(top, nar));
      const collecting = a.collect();
      await until(
        'it has begun',
        async () => (await a.database.query('SELECT 1 FROM collection WHERE is_active = 1')).length > 0,
      );
      await push();
      await collecting;
      await pair.served(lib, top);
      await pair.sound();
    });
  }

  it('a collection waits for a pin that began before it', async () => {
    const lib = refer('lib');
    await a.publish(lib);
    await a.age(lib);
    const pinned = { name: 'v1', path: lib, artifacts: [], keep: null };
    const pin = await b.half({ after: /SELECT run, is_active FROM collection/ }, () =>
      addHeld(b.seen, pinned, { origin: 'api', token: null }),
    );
    let isSwept = false;
    a.half({ after: /SELECT hash_part FROM uses/ }, () => a.collect()).then(
      () => {
        isSwept = true;
      },
      // It ends without a sweep, as it should.
      () => {},
    );
    const looks = new Set<string>();
    await until('it waits for the pin, or does not', async () => {
      const rows = await b.database.query<{ at: string }>(
        `SELECT query_start::text AS at FROM pg_stat_activity WHERE query LIKE '%pg_snapshot_xmin(%' AND pid <> pg_backend_pid()`,
      );
      for (const { at } of rows) looks.add(at);
      return isSwept || looks.size > 2;
    });
    assert.ok(!isSwept);
    assert.equal(await pin(), 'added');
    // Nothing is left to be swept.
    await until(
      'it is over',
      async () => (await a.database.query('SELECT 1 FROM collection WHERE is_active = 0')).length > 0,
    );
    await pair.served(lib);
    await pair.sound();
  });

  it('a path that is pushed again while it is swept stays, or comes back', async () => {
    for (const first of ['push', 'sweep'] as const) {
      const lib = refer('lib');
      const top = refer('top', lib);
      for (const it of [lib, top]) await a.publish(it);
      await a.age(lib, top);
      const sweep = await a.half(first === 'sweep' ? SWEEP : { after: /SELECT hash_part FROM uses/ }, () =>
        a.collect(),
      );
      if (first === 'push') {
        const push = await b.half({ commitOf: /UPDATE paths SET needed/ }, () => b.publish(top));
        const sweeping = sweep();
        await pair.waitsForLock();
        assert.equal(await push(), 'present');
        await sweeping;
      } else {
        const pushing = b.publish(top);
        await pair.waitsForLock();
        await sweep();
        assert.equal(await pushing, 'published');
      }
      await pair.served(lib, top);
      await pair.sound();
    }
  });

  it('a root that a pusher asks for while its closure is to go keeps that', async () => {
    const leaf = refer('leaf');
    const lib = refer('lib', leaf);
    const top = refer('top', lib);
    for (const it of [leaf, lib, top]) await a.publish(it);
    await a.age(leaf, lib, top);
    const abort = new AbortController();
    const collecting = a.collect(3600_000, abort.signal).catch(() => {});
    await pair.gone(top);
    assert.deepEqual(await b.paths.revive([top.hashPart]), [top.hashPart]);
    abort.abort();
    await collecting;
    await b.finish();
    await pair.served(leaf, lib, top);
    await pair.sound();
  });

  it('a pusher that asks for a root just before a collection begins keeps what that needs', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    for (const it of [lib, top]) await a.publish(it);
    await a.age(lib, top);
    await a.collect(0);
    // Only the root stays away.
    await a.paths.revive([lib.hashPart]);
    await a.age(lib);
    const revive = await b.half({ after: /FROM collection/ }, () => b.paths.revive([top.hashPart]));
    const collecting = a.collect();
    await until(
      'it has begun',
      async () => (await a.database.query('SELECT 1 FROM collection WHERE is_active = 1')).length > 0,
    );
    const first = await Promise.race([collecting.then(() => 'collected'), pair.waitsForOlder().then(() => 'waits')]);
    await revive();
    await collecting;
    assert.equal(first, 'waits');
    await pair.served(lib, top);
    await pair.sound();
  });
  it('a use that another server has not written yet brings back what was taken meanwhile', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    for (const it of [lib, top]) await a.publish(it);
    await a.age(lib, top);
    assert.deepEqual(await b.paths.missing([top.hashPart]), []);
    await a.collect();
    await pair.gone(lib, top);
    await b.uses.flush();
    await pair.served(lib, top);
    await pair.sound();
    await a.collect();
    await pair.served(lib, top);
  });

  it('a use that is written while the path is being taken brings it back', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    for (const it of [lib, top]) await a.publish(it);
    await a.age(lib, top);
    const sweep = await a.half(SWEEP, () => a.collect());
    assert.deepEqual(await b.paths.missing([top.hashPart]), []);
    await b.uses.flush();
    await sweep();
    await pair.served(lib, top);
    await pair.sound();
  });

  it('a server that lost its lease in the middle takes nothing that came back since', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    for (const it of [lib, top]) await a.publish(it);
    await a.age(lib, top);
    const sweep = await a.half({ after: /FROM doomed .*ORDER BY turn/ }, () => a.collect());
    await b.finish();
    await pair.gone(lib, top);
    const user = refer('user', top);
    assert.equal(await b.publish(user), 'published');
    await pair.served(lib, top, user);
    await assert.rejects(sweep(), /another server/);
    await pair.served(lib, top, user);
    await pair.sound();
  });

  it('nor does one that lost it before it had chosen', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    for (const it of [lib, top]) await a.publish(it);
    await a.age(lib, top);
    const choose = await a.half({ after: /FROM paths p JOIN objects o/ }, () => a.collect());
    await b.collect();
    const user = refer('user', top);
    assert.equal(await b.publish(user), 'published');
    await pair.served(lib, top, user);
    await assert.rejects(choose(), /another server/);
    await pair.served(lib, top, user);
    await pair.sound();
    assert.deepEqual(await a.database.query('SELECT 1 FROM doomed'), []);
  });

  it('what is published by a server that died before it brought back what that needs', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    await a.publish(lib);
    await a.age(lib);
    await a.collect();
    await a.publishOnly(top);
    await b.tend();
    await pair.served(lib, top);
    await pair.sound();
  });

  it('what a server of an older version publishes meanwhile is never half a closure', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    await a.publish(lib);
    await a.age(lib);
    const sweep = await a.half({ after: /FROM doomed .*ORDER BY turn/ }, () => a.collect());
    await b.publishAsBefore(top);
    await pair.served(lib, top);
    await sweep();
    await pair.sound();
    await pair.served(lib, top);
  });

  it('a path that is retired loses nothing to who publishes one with a wait on it', async () => {
    const lib = refer('lib');
    const top = refer('top', lib);
    const user = refer('user', top);
    for (const it of [top, user]) await a.publish(it);
    await a.age(top, user);
    await a.collect();
    const revive = await a.half({ commitOf: /INSERT INTO paths/ }, () => a.paths.revive([user.hashPart]));
    const push = await b.half(PUBLISH, () => b.publish(lib));
    await Promise.all([revive(), push()]);
    await pair.served(lib, top, user);
    await pair.sound();
  });

  it('a revived path is not served before its closure is', async () => {
    const leaf = refer('leaf');
    const lib = refer('lib', leaf);
    const top = refer('top', lib);
    for (const it of [leaf, lib, top]) await a.publish(it);
    await a.age(leaf, lib, top);
    await a.collect();
    await a.lose(leaf);
    // As a server that dies right after its COMMIT.
    await a.reviveOnly(top);
    await assertSoundRows(a.database);
    await pair.gone(lib, top);
    await b.heal(leaf);
    await b.paths.revive([leaf.hashPart]);
    await pair.served(leaf, lib, top);
    await pair.sound();
  });
});
