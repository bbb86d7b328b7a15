import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { giveUpLost, markLost } from '../../server/cache/objects/lost-rows.ts';
import type { KnownObject } from '../../server/cache/objects/object.ts';
import { replaceObject } from '../../server/cache/objects/rows.ts';
import { tombstoneOrphan } from '../../server/cache/objects/tombstones.ts';
import { type NewPath, Paths } from '../../server/cache/paths/paths.ts';
import { storeNar } from '../../server/cache/paths/publish.ts';
import { Keys } from '../../server/cache/signing/keys.ts';
import { isConstraint, type PostgresDatabase } from '../../server/metadata/index.ts';
import { closuresOf } from '../support/closures.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { usesOf } from '../support/uses.ts';

const facts = (path: TestPath) => ({
  compression: 'zstd',
  fileHash: path.fileHash,
  narHash: path.narHash,
  narSize: path.nar.length,
});

const objectOf = (path: TestPath, key = path.narUrl) => ({
  key,
  storage: 'disk',
  name: randomBytes(8).toString('hex'),
  size: path.file.length,
});

const claim = (path: TestPath, signatures: string[] = ['a:AAAA']): NewPath => ({
  hashPart: path.hashPart,
  name: path.name,
  references: [],
  deriver: undefined,
  ca: undefined,
  signatures,
  narHash: path.narHash,
  narSize: path.nar.length,
});

/** The bytes of all objects are there. */
const nobodyLooks = async () => {};

/** A gate in the middle of a transaction: what waits there is let through by hand. */
function gate(): { open: () => void; passed: Promise<void> } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}

describe('paths of servers that share a database', () => {
  let postgres: PostgresServer;
  let proxy: TcpProxy;
  let url: string;
  let databases: [PostgresDatabase, PostgresDatabase];
  let a: Paths;
  let b: Paths;
  let stopping: AbortController;
  before(async () => {
    postgres = await PostgresServer.start();
    proxy = await TcpProxy.start({ host: postgres.host, port: postgres.port });
  });
  beforeEach(async () => {
    url = await postgres.createDatabase();
    databases = [await openSchema(url), await openSchema(proxy.through(url), { timeoutMs: 1000 })];
    stopping = new AbortController();
    [a, b] = (await Promise.all(databases.map(pathsOn))) as [Paths, Paths];
    // Both listen: the answer of one is remembered.
    for (const paths of [a, b]) {
      await until('it hears changes', async () => {
        const hashPart = makePath().hashPart;
        await paths.find(hashPart);
        return paths.peek(hashPart) === 'missing';
      });
    }
  });
  afterEach(async () => {
    proxy.resume();
    stopping.abort();
    await Promise.all(databases.map((it) => it.close()));
  });
  after(async () => {
    await proxy.close();
    await postgres.remove();
  });

  async function pathsOn(database: PostgresDatabase): Promise<Paths> {
    const keys = await Keys.load({
      folder: undefined,
      cache: 'main',
      host: 'localhost',
      renameHost: false,
      signing: { mode: 'SelfSigned', secretKeys: [], publicKeys: [] },
      rootSecret: Buffer.alloc(32, 1),
      missing: undefined,
      database,
    });
    const paths = new Paths({
      ...{ database, closures: closuresOf(database), uses: usesOf(database), keys: () => keys },
      ...{ cacheBytes: 2 ** 20, look: nobodyLooks },
    });
    await paths.load(stopping.signal);
    return paths;
  }

  const publish = (paths: Paths, path: TestPath, signatures?: string[]) =>
    paths.publish(claim(path, signatures), { object: objectOf(path), facts: facts(path) });

  const textOf = async (paths: Paths, path: TestPath) => (await paths.find(path.hashPart))?.body.toString();

  /** Soon is a second; more is allowed for a busy machine, and far less than anything is remembered without a word. */
  async function soon(what: string, path: TestPath, condition: (text: string | undefined) => boolean) {
    await until(what, async () => condition(await textOf(b, path)), 10_000);
  }

  it('are served by the other at once', async () => {
    for (let round = 0; round < 20; round++) {
      const path = makePath();
      assert.deepEqual(await publish(a, path), { kind: 'published', isNewNar: true });
      assert.ok(await b.find(path.hashPart));
      assert.deepEqual(await b.missing([path.hashPart]), []);
    }
  });

  it('are served by the other although it had just missed them', async () => {
    const path = makePath();
    assert.equal(await b.find(path.hashPart), undefined);
    assert.equal(b.peek(path.hashPart), 'missing');
    await publish(a, path);
    await soon('the change is heard', path, (text) => text !== undefined);
  });

  it('are served within a second by one that has lost its ear', async () => {
    const path = makePath();
    await postgres.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'`,
    );
    await b.find(path.hashPart);
    await publish(a, path);
    await soon('it is served', path, (text) => text !== undefined);
  });

  it('are served soon by one whose connections all hang, once it has others', async () => {
    const path = makePath();
    const other = makePath();
    await publish(a, other);
    await b.find(other.hashPart);
    await b.find(path.hashPart);
    proxy.pause();
    await publish(a, path);
    await publish(a, other, ['b:BBBB']);
    await until('b remembers nothing', () => b.peek(other.hashPart) === undefined, 2500);
    proxy.resume();
    await soon('it is served', path, (text) => text !== undefined);
    await soon('the new signature is there', other, (text) => text?.includes('b:BBBB') === true);
  });

  it('remember nothing while changes are not heard', async () => {
    const path = makePath();
    await publish(a, path);
    await until('it is remembered', async () => {
      await b.find(path.hashPart);
      return b.peek(path.hashPart) !== undefined;
    });
    await proxy.refuse(true);
    proxy.cut();
    await until('all is forgotten', () => b.peek(path.hashPart) === undefined, 2500);
    await proxy.refuse(false);
    assert.ok(await b.find(path.hashPart));
  });

  it('get signatures that were added on the other', async () => {
    const path = makePath();
    await publish(a, path);
    assert.match((await textOf(b, path)) ?? '', /Sig: a:AAAA/);
    assert.deepEqual(await publish(a, path, ['b:BBBB']), { kind: 'present' });
    await soon('both signatures are there', path, (text) => /Sig: a:AAAA\nSig: b:BBBB/.test(text ?? ''));
  });

  /** The row of a path's NAR. */
  async function rowOf(path: TestPath): Promise<KnownObject> {
    const [row] = await databases[0].query<KnownObject>(
      `SELECT id, key, storage, name, size FROM objects WHERE key = ? AND state <> 'tombstoned'`,
      [path.narUrl],
    );
    assert.ok(row);
    return row;
  }

  async function lose(path: TestPath): Promise<void> {
    const [database] = databases;
    const row = await rowOf(path);
    await database.write(async (sql) => sql.run(database.announce((await markLost(sql, row, 'missing')) ?? [])));
  }

  it('go when their NAR is lost on the other, and come back when it is pushed again', async () => {
    const [path, twin] = [makePath(), makePath()];
    await publish(a, path);
    await a.publish({ ...claim(twin), narHash: path.narHash, narSize: path.nar.length }, { key: path.narUrl });
    for (const again of [objectOf(path), { ...objectOf(path), key: 'nar/another' }]) {
      for (const it of [path, twin]) assert.ok(await b.find(it.hashPart));
      await lose(path);
      for (const it of [path, twin]) await soon('it is gone', it, (text) => text === undefined);
      assert.deepEqual(await b.missing([path.hashPart, twin.hashPart]), [path.hashPart, twin.hashPart]);
      assert.deepEqual(await a.publish(claim(path), { object: again, facts: facts(path) }), { kind: 'healed' });
      for (const it of [path, twin])
        await soon('it is back', it, (text) => text?.includes(`URL: ${again.key}`) === true);
      assert.deepEqual(await b.missing([path.hashPart, twin.hashPart]), []);
    }
  });

  it('go when their lost NAR is given up on the other', async () => {
    const path = makePath();
    await publish(a, path);
    await lose(path);
    const [database] = databases;
    const row = await rowOf(path);
    assert.deepEqual(await database.write((sql) => giveUpLost(sql, row)), [path.hashPart]);
    assert.deepEqual(await publish(b, path), { kind: 'published', isNewNar: true });
  });

  it('are healed once, by whoever is first', async () => {
    for (let round = 0; round < 10; round++) {
      const path = makePath();
      await publish(a, path);
      await lose(path);
      const other = { object: { ...objectOf(path), key: `nar/${round}` }, facts: facts(path) };
      const outcomes = await Promise.all([
        publish(a, path),
        publish(b, path),
        b.store(objectOf(path), facts(path)),
        a.publish(claim(path), other),
      ]);
      assert.ok(outcomes.every((it) => typeof it === 'boolean' || it.kind === 'healed' || it.kind === 'present'));
      const rows = await databases[0].query<{ state: string; n: number }>(
        `SELECT o.state, count(*) AS n FROM paths p JOIN objects o ON o.id = p.object_id WHERE p.hash_part = ? GROUP BY o.state`,
        [path.hashPart],
      );
      assert.deepEqual(rows, [{ state: 'verified', n: 1 }]);
      await soon('it is served', path, (text) => text !== undefined);
    }
    assert.deepEqual(await databases[0].query(`SELECT 1 FROM objects WHERE state = 'lost'`), []);
  });

  it('are not remembered by a look-up that began before a change', async () => {
    const path = makePath();
    await publish(a, path);
    for (let round = 0; round < 20; round++) {
      const signature = `k${round}:AAAA`;
      const reads = Array.from({ length: 5 }, async () => {
        for (let turns = Math.random() * 20; turns > 0; turns--) await new Promise(setImmediate);
        return b.find(path.hashPart);
      });
      await publish(a, path, [signature]);
      await Promise.all(reads);
      await soon('the signature is there', path, (text) => text?.includes(signature) === true);
    }
  });

  it('answer a query for 65 536 of them in one statement', async () => {
    const paths = Array.from({ length: 3 }, () => makePath());
    for (const path of paths) await publish(a, path);
    const hashes = Array.from({ length: 65_533 }, () => makePath({ contents: Buffer.alloc(1) }).hashPart);
    const missing = await b.missing([...hashes, ...paths.map((path) => path.hashPart)]);
    assert.deepEqual(missing, hashes);
  });

  it('are counted', async () => {
    for (let i = 0; i < 3; i++) await publish(a, makePath());
    const later = await pathsOn(databases[1]);
    assert.equal(later.count, 3);
  });

  it('of the same name are published once, whoever is first', async () => {
    for (let round = 0; round < 10; round++) {
      const path = makePath();
      const outcomes = await Promise.all([publish(a, path, ['a:AAAA']), publish(b, path, ['b:BBBB'])]);
      assert.deepEqual(outcomes.map((it) => it.kind).sort(), ['present', 'published']);
      const rows = await databases[0].query<{ state: string }>('SELECT state FROM objects ORDER BY state');
      assert.equal(rows.filter((row) => row.state === 'verified').length, round + 1);
      assert.equal(
        rows.filter((row) => row.state === 'tombstoned').length,
        round + 1,
        'the bytes that lost wait for their removal',
      );
      for (const paths of [a, b]) {
        await until('all signatures are there', async () => {
          const text = await textOf(paths, path);
          return text?.includes('a:AAAA') === true && text.includes('b:BBBB');
        });
      }
    }
  });

  it('never point at a NAR that another server removes at this moment', async () => {
    const [one, other] = databases;
    for (const first of ['publish', 'remove'] as const) {
      const path = makePath();
      await storeNar(one, objectOf(path), facts(path), nobodyLooks);
      const [row] = await one.query<{ id: number }>('SELECT id FROM objects WHERE key = ?', [path.narUrl]);
      const id = row?.id ?? 0;
      const after = Date.now() + 1000;
      const inside = gate();
      const begun = gate();
      const source = { key: path.narUrl };
      if (first === 'remove') {
        const removing = other.write(async (sql) => {
          const taken = await tombstoneOrphan(sql, id, after);
          begun.open();
          await inside.passed;
          return taken;
        });
        await begun.passed;
        const publishing = a.publish(claim(path), source);
        await postgres.untilBlocked();
        inside.open();
        assert.equal(await removing, true);
        assert.deepEqual(await publishing, { kind: 'no-nar' });
        assert.equal(await b.find(path.hashPart), undefined);
      } else {
        const holding = one.write(async (sql) => {
          // The first statement of a publish, and then nothing for a while.
          await sql.query(`UPDATE objects SET orphan_since = NULL WHERE key = ? AND state = 'verified'`, [path.narUrl]);
          begun.open();
          await inside.passed;
        });
        await begun.passed;
        const removing = other.write((sql) => tombstoneOrphan(sql, id, after));
        await postgres.untilBlocked();
        inside.open();
        await holding;
        assert.equal(await removing, false);
        assert.deepEqual(await a.publish(claim(path), source), { kind: 'published', isNewNar: false });
      }
    }
  });

  it('never point at a NAR that is found lost at this moment, whether it was an orphan or not', async () => {
    const [old, path] = [makePath(), makePath({ contents: Buffer.from('shared') })];
    const shared = { ...claim(old), narHash: path.narHash, narSize: path.nar.length };
    await a.publish(shared, { object: objectOf(path), facts: facts(path) });
    const row = await rowOf(path);
    const [inside, begun] = [gate(), gate()];
    const marking = databases[1].write(async (sql) => {
      await markLost(sql, row, 'missing');
      begun.open();
      await inside.passed;
    });
    await begun.passed;
    const publishing = a.publish(claim(path), { key: path.narUrl });
    await postgres.untilBlocked();
    inside.open();
    await marking;
    assert.deepEqual(await publishing, { kind: 'no-nar' });
    assert.deepEqual(await databases[0].query('SELECT hash_part FROM paths'), [{ hash_part: old.hashPart }]);
  });

  it('keep one object a key, however many servers replace it', async () => {
    const replace = (index: number) => {
      const database = databases[index % 2 === 0 ? 0 : 1];
      const object = { key: 'log/x', storage: 'disk', name: `log-${index}`, size: index };
      return database.write((sql) => replaceObject(sql, object));
    };
    await Promise.all(Array.from({ length: 40 }, (_, index) => replace(index)));
    const rows = await databases[0].query<{ state: string }>('SELECT state FROM objects');
    assert.equal(rows.filter((row) => row.state === 'verified').length, 1);
    assert.equal(rows.length, 40);
  });

  it('and their objects may be written twice, as after a commit whose answer was lost', async () => {
    const [database] = databases;
    const object = { key: 'log/x', storage: 'disk', name: 'log', size: 1 };
    for (let i = 0; i < 2; i++) await database.write((sql) => replaceObject(sql, object));
    const path = makePath();
    const nar = objectOf(path);
    assert.equal((await storeNar(database, nar, facts(path), nobodyLooks)).isNew, true);
    assert.equal((await storeNar(database, nar, facts(path), nobodyLooks)).isNew, false);
    const published = makePath();
    const source = { object: objectOf(published), facts: facts(published) };
    await a.publish(claim(published), source);
    assert.deepEqual(await a.publish(claim(published), source), { kind: 'present' });
    const states = await database.query<{ state: string; n: number }>(
      'SELECT state, count(*) AS n FROM objects GROUP BY state',
    );
    assert.deepEqual(states, [{ state: 'verified', n: 3 }]);
  });

  it('are refused for the constraint that they break', async () => {
    const [database] = databases;
    const insert = (text: string) =>
      database.script([[text]]).then(
        () => undefined,
        (error: unknown) => error,
      );
    const codes = [
      await insert(`INSERT INTO meta (key) VALUES ('x')`),
      await insert(`INSERT INTO upload_parts (upload, number, size, md5) VALUES ('none', 1, 1, '')`),
    ];
    for (const error of codes) assert.ok(isConstraint(error), String(error));
    assert.ok(!isConstraint(await insert('SELECT 1/0')));
  });
});
