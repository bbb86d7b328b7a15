/** NARs of retired paths, where servers take them away and claim them at one moment: none is lost, and none is left over. */
import assert from 'node:assert/strict';
import { giveUpLost, replaceLost } from '../../server/cache/objects/lost-rows.ts';
import { makePath } from '../support/nars.ts';
import { refer, twin } from '../support/paths.ts';
import { PostgresServer } from '../support/postgres.ts';
import { ServerPair } from '../support/server-pair.ts';
import { known, type StoppableServer } from '../support/stoppable-server.ts';

const PUBLISH = { commitOf: /INSERT INTO paths/ };
const EXPIRE = { commitOf: /DELETE FROM retired/ };

describe('NARs of retired paths, of servers that share a database', () => {
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

  it('a NAR whose grace ends is kept or let go as one, while a path claims it', async () => {
    for (const order of ['publish', 'expire'] as const)
      for (const nar of ['new', 'known'] as const) {
        const old = refer('old');
        const next = twin('next', old);
        await a.publish(old);
        await a.age(old);
        await a.collect();
        await pair.gone(old);
        if (order === 'publish') {
          const push = await b.half(PUBLISH, () => b.publish(next, nar));
          const expiring = a.expire();
          await Promise.race([expiring, pair.waitsForLock()]);
          assert.equal(await push(), 'published');
          await expiring;
        } else {
          const expire = await a.half(EXPIRE, () => a.expire());
          const pushing = b.publish(next, nar);
          await pair.waitsForLock();
          await expire();
          assert.equal(await pushing, 'published');
        }
        await a.dropOrphans();
        await pair.served(next);
        await pair.sound();
        await pair.empty(next);
      }
  });

  it('an orphan that is removed while a path claims it', async () => {
    for (const order of ['publish', 'drop'] as const) {
      const old = refer('old');
      const next = twin('next', old);
      await a.publish(old);
      await a.age(old);
      await a.collect();
      await a.expire();
      if (order === 'publish') {
        const push = await b.half(PUBLISH, () => b.publish(next, 'known'));
        const dropping = a.dropOrphans();
        await pair.waitsForLock();
        assert.equal(await push(), 'published');
        await dropping;
        await pair.served(next);
      } else {
        const drop = await a.half({ commitOf: /state = 'tombstoned'/ }, () => a.dropOrphans());
        const pushing = b.publish(next, 'known');
        await pair.waitsForLock();
        await drop();
        assert.equal(await pushing, 'no-nar');
      }
      await pair.sound();
      await pair.empty(next);
    }
  });

  it('a retired path whose grace ends while somebody asks for it', async () => {
    for (const order of ['revive', 'expire'] as const) {
      const lib = refer('lib');
      const old = refer('old', lib);
      for (const it of [lib, old]) await a.publish(it);
      await a.age(lib, old);
      await a.collect();
      await pair.gone(lib, old);
      const first =
        order === 'revive'
          ? await b.half({ commitOf: /INSERT INTO paths/ }, () => b.paths.revive([old.hashPart]))
          : await a.half(EXPIRE, () => a.expire());
      const second = order === 'revive' ? a.expire() : b.paths.revive([old.hashPart]);
      await pair.waitsForLock();
      await first();
      await second;
      await a.dropOrphans();
      if (order === 'revive') await pair.served(lib, old);
      else await pair.gone(lib, old);
      await pair.sound();
      await pair.empty(lib, old);
    }
  });

  it('two paths of one NAR that two servers end at one moment', async () => {
    const old = refer('old');
    const other = twin('other', old);
    await a.publish(old);
    await a.age(old);
    await a.collect();
    await a.database.script([['UPDATE retired SET retired_at = 5']]);
    await a.publish(other);
    await a.age(other);
    await a.collect();
    const first = await a.half(EXPIRE, () => a.expire(10));
    const second = b.expireOnly(other);
    await Promise.race([second, pair.waitsForLock()]);
    await first();
    await second;
    await pair.sound();
    await pair.empty(old, other);
  });

  it('a path that is published again with another NAR leaves nothing of the first one', async () => {
    for (const then of ['retire', 'revive', 'expire'] as const) {
      const old = refer('old');
      const { narHash, nar, file, fileHash, narUrl } = refer('old');
      const again = { ...old, narHash, nar, file, fileHash, narUrl };
      await a.publish(old);
      await a.age(old);
      await a.collect();
      assert.equal(await b.publish(again), 'published');
      if (then === 'revive') await a.paths.revive([old.hashPart]);
      if (then === 'expire') await a.expire();
      await pair.sound();
      await pair.served(again);
      await pair.empty(again);
      await pair.sound();
    }
  });

  it('a path that came back with another NAR is used, and the first one keeps its grace', async () => {
    const old = refer('old');
    const { narHash, nar, file, fileHash, narUrl } = refer('old');
    const again = { ...old, narHash, nar, file, fileHash, narUrl };
    await a.publish(old);
    await a.age(old);
    await a.collect();
    assert.equal(await b.publish(again), 'published');
    b.uses.touch(old.hashPart);
    await b.uses.flush();
    await a.dropOrphans();
    assert.equal((await known(a.database, old)).key, old.narUrl);
    await pair.sound();
    await pair.empty(again);
  });

  it('a retired path whose NAR is lost', async () => {
    const old = refer('old');
    await a.publish(old);
    await a.age(old);
    await a.collect();
    await a.lose(old);
    assert.deepEqual(await b.paths.revive([old.hashPart]), []);
    await pair.sound();
    await a.heal(old);
    assert.deepEqual(await b.paths.revive([old.hashPart]), [old.hashPart]);
    await pair.served(old);
    await pair.sound();
    await a.age(old);
    await a.collect();
    await a.lose(old);
    await a.expire();
    await a.dropOrphans();
    await pair.sound();
    await pair.empty(old);
  });

  it('a retired path whose lost NAR is given up, or replaced by another file of it', async () => {
    for (const how of ['given up', 'replaced'] as const) {
      const old = refer('old');
      const other = makePath({ name: 'other' });
      for (const it of [old, other]) await a.publish(it);
      await a.age(old);
      await a.collect();
      await a.lose(old);
      await a.database.write(async (sql) => {
        const lost = await known(sql, old);
        if (how === 'given up') await giveUpLost(sql, lost);
        else await replaceLost(sql, lost, (await known(sql, other)).id);
      });
      await pair.sound();
      assert.deepEqual(await b.paths.revive([old.hashPart]), how === 'replaced' ? [old.hashPart] : []);
      await pair.sound();
      await pair.empty(old, other);
    }
  });
});
