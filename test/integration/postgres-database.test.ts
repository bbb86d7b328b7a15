import assert from 'node:assert/strict';
import {
  DatabaseUnavailableError,
  isConstraint,
  type PostgresDatabase,
  type Statement,
} from '../../server/metadata/index.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const INSERT = 'INSERT INTO meta (key, value) VALUES (?, ?)';
const UPSERT = `${INSERT} ON CONFLICT (key) DO UPDATE SET value = excluded.value`;

describe('a database in PostgreSQL', () => {
  let server: PostgresServer;
  let url: string;
  let proxy: TcpProxy;
  const open: PostgresDatabase[] = [];
  before(async () => {
    server = await PostgresServer.start();
    url = await server.createDatabase();
    proxy = await TcpProxy.start({ host: server.host, port: server.port });
  });
  afterEach(async () => {
    proxy.resume();
    await proxy.refuse(false);
    await Promise.all(open.splice(0).map((database) => database.close()));
  });
  after(async () => {
    await proxy.close();
    await server.remove();
  });

  async function connect(...init: Parameters<typeof openSchema>): Promise<PostgresDatabase> {
    const database = await openSchema(...init);
    open.push(database);
    return database;
  }

  async function value(database: PostgresDatabase, key: string): Promise<string | undefined> {
    return (await database.query<{ value: string }>('SELECT value FROM meta WHERE key = ?', [key]))[0]?.value;
  }

  it('hands out numbers where SQLite does', async () => {
    const database = await connect(url);
    await database.script([[UPSERT, 'n', '12345']]);
    const [row] = await database.query(
      `SELECT count(*) AS count, sum(length(value)) AS sum, max(9007199254740991::bigint) AS big, NULL::bigint AS none
       FROM meta WHERE key = ?`,
      ['n'],
    );
    assert.deepEqual(row, { count: 1, sum: 5, big: 9007199254740991, none: null });
  });

  it('takes any text as a value, written out and as a parameter', async () => {
    const database = await connect(url);
    const texts = [`'; DROP TABLE meta; --`, 'a\\', "\\'", '$1 $$ $a$', '\u{1f433}\n\r\t', 'ß'.repeat(5000), '?', ''];
    for (const text of texts) {
      await database.script([[UPSERT, 'text', text]]);
      assert.equal(await value(database, 'text'), text);
      await database.write((sql) => sql.query(UPSERT, [`key ${text}`, text]));
      assert.equal(await value(database, `key ${text}`), text);
      await database.write((sql) => sql.run([['DELETE FROM meta WHERE key = ?', `key ${text}`]]));
      assert.equal(await value(database, `key ${text}`), undefined);
    }
    await assert.rejects(database.script([[UPSERT, 'text', 'a\0b']]), /a NUL in a value/);
  });

  it('compares with lists of any length, of texts and of numbers', async () => {
    const database = await connect(url);
    const keys = Array.from({ length: 65_536 }, (_, index) => `list "${index}" \\`);
    await database.script(keys.slice(0, 50).map((key) => [UPSERT, key, 'x']));
    const text = `SELECT key FROM meta WHERE ${database.isOneOf('key')}`;
    assert.equal((await database.query(text, [database.list(keys)])).length, 50);
    assert.deepEqual(await database.query(text, [database.list([])]), []);
    await database.script([[`DELETE FROM meta WHERE ${database.isOneOf('key')}`, database.list(keys)]]);
    assert.deepEqual(await database.query(text, [database.list(keys)]), []);
    const ids = await database.query(`SELECT 1 FROM objects WHERE ${database.isOneOf('id')}`, [database.list([1, 2])]);
    assert.deepEqual(ids, []);
  });

  it('makes all of a script or nothing, and fails no neighbour', async () => {
    const database = await connect(url, { maxConnections: 1 });
    await database.script([[UPSERT, 'taken', '0']]);
    const results = await Promise.allSettled([
      database.script([[INSERT, 'a', '1']]),
      database.script([
        [INSERT, 'half', '1'],
        [INSERT, 'taken', '2'],
      ]),
      database.write((sql) => sql.query(INSERT, ['b', '3'])),
      database.write(async (sql) => {
        await sql.query(INSERT, ['other half', '1']);
        throw new Error('changed my mind');
      }),
    ]);
    assert.deepEqual(
      results.map((it) => it.status),
      ['fulfilled', 'rejected', 'fulfilled', 'rejected'],
    );
    const [, constraint] = results;
    assert.ok(constraint?.status === 'rejected' && isConstraint(constraint.reason));
    assert.deepEqual([await value(database, 'a'), await value(database, 'b')], ['1', '3']);
    assert.deepEqual([await value(database, 'half'), await value(database, 'other half')], [undefined, undefined]);
  });

  it('makes all of several statements or nothing, and says what each has found', async () => {
    const database = await connect(url);
    const together = (...values: string[]) =>
      database.together([
        ...values.map((value): Statement => [`${INSERT} RETURNING value`, `together ${value}`, value]),
        [`SELECT count(*) AS n FROM meta WHERE key LIKE 'together%'`],
      ]);
    assert.deepEqual(await together('1', '2'), [[{ value: '1' }], [{ value: '2' }], [{ n: 2 }]]);
    await assert.rejects(together('3', '1'), isConstraint);
    assert.deepEqual(await together(), [[{ n: 2 }]]);
  });

  it('commits to the disk unless less is asked for, whatever the role has set', async () => {
    await server.query(`ALTER ROLE ${server.user} SET synchronous_commit = off`);
    try {
      const database = await connect(url, { schema: 'durable' });
      const seen = async (durability: 'disk' | 'process') => {
        await database.script(
          [['INSERT INTO meta SELECT ?, current_setting(?)', `as ${durability}`, 'synchronous_commit']],
          durability,
        );
        return value(database, `as ${durability}`);
      };
      assert.deepEqual([await seen('disk'), await seen('process')], ['on', 'off']);
      const [inside] = await database.write((sql) =>
        sql.query<{ it: string }>(`SELECT current_setting('synchronous_commit') AS it`),
      );
      assert.equal(inside?.it, 'on');
    } finally {
      await server.query(`ALTER ROLE ${server.user} RESET synchronous_commit`);
    }
  });

  it('does not take a swallowed error for a commit', async () => {
    const database = await connect(url);
    await database.script([[UPSERT, 'taken', '0']]);
    const swallow = database.write(async (sql) => {
      await sql.query(INSERT, ['lost', '1']);
      await sql.query(INSERT, ['taken', '1']).catch(() => {});
    });
    await assert.rejects(swallow, /was rolled back: a statement in it had failed/);
    assert.equal(await value(database, 'lost'), undefined);
  });

  it('goes on after its connections were ended, read or write', async () => {
    const database = await connect(url);
    await database.query('SELECT 1');
    for (let round = 0; round < 3; round++) {
      await server.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'narwhal-server'`,
      );
      await Promise.all([
        database.query('SELECT 1'),
        database.script([[UPSERT, 'round', String(round)]]),
        database.write((sql) => sql.query('SELECT 1')),
      ]);
      assert.equal(await value(database, 'round'), String(round));
    }
  });

  it('waits through a crash and a restart of the server', async () => {
    const database = await connect(url);
    await database.script([[UPSERT, 'before', '1']]);
    await server.stop('immediate');
    const writes = Array.from({ length: 20 }, (_, index) => database.script([[UPSERT, `w${index}`, 'x']]));
    const read = value(database, 'before');
    await until('they wait', () => database.queueLength > 0);
    await server.restart();
    await Promise.all(writes);
    assert.equal(await read, '1');
    assert.equal(await value(database, 'w19'), 'x');
  });

  it('gives up after its patience, with an error that says so', async () => {
    const database = await connect(proxy.through(url), { readPatienceMs: 300, writePatienceMs: 300 });
    await proxy.refuse(true);
    proxy.cut();
    const give = [database.query('SELECT 1'), database.script([[UPSERT, 'x', 'x']]), database.ping()];
    for (const result of await Promise.allSettled(give)) {
      assert.ok(result.status === 'rejected' && result.reason instanceof DatabaseUnavailableError);
      assert.match(result.reason.message, /^the database does not answer: /);
    }
  });

  it('hangs for nobody behind a network that swallows everything', async () => {
    const database = await connect(proxy.through(url), {
      timeoutMs: 500,
      readPatienceMs: 500,
      writePatienceMs: 500,
      maxConnections: 2,
    });
    await Promise.all([database.query('SELECT 1'), database.query('SELECT 1')]);
    proxy.pause();
    const calls = Array.from({ length: 10 }, () => database.query('SELECT 1'));
    const writes = Array.from({ length: 10 }, () => database.script([[UPSERT, 'x', 'x']]));
    for (const result of await Promise.allSettled([...calls, ...writes])) assert.equal(result.status, 'rejected');
    proxy.resume();
    assert.deepEqual(await database.query('SELECT 1 AS x'), [{ x: 1 }]);
  });

  it('ends a statement that takes too long, and a wait for a lock', async () => {
    const database = await connect(url, { timeoutMs: 300, readPatienceMs: 100, writePatienceMs: 100 });
    await assert.rejects(database.query('SELECT pg_sleep(5)'), /statement timeout/);
    await database.script([[UPSERT, 'locked', '0']]);
    const other = await connect(url);
    await other.write(async (sql) => {
      await sql.query(UPSERT, ['locked', '1']);
      await assert.rejects(database.script([[UPSERT, 'locked', '2']]), DatabaseUnavailableError);
    });
    await database.script([[UPSERT, 'locked', '3']]);
    assert.equal(await value(database, 'locked'), '3');
  });

  it('tries transactions again that were in each other’s way', async () => {
    const [a, b] = [await connect(url), await connect(url)];
    await a.script([
      [UPSERT, 'one', '0'],
      [UPSERT, 'two', '0'],
    ]);
    let firsts = 0;
    const crossing = (database: PostgresDatabase, first: string, second: string) =>
      database.write(async (sql) => {
        await sql.query(UPSERT, [first, 'x']);
        firsts++;
        await until('both have a lock that the other one wants', () => firsts > 1);
        await sql.query(UPSERT, [second, 'x']);
      });
    await Promise.all([crossing(a, 'one', 'two'), crossing(b, 'two', 'one')]);
  });

  it('survives a migration under its prepared statements', async () => {
    const database = await connect(url, { maxConnections: 1 });
    const look = () => database.query('SELECT * FROM registered_keys');
    for (let i = 0; i < 5; i++) await look();
    const other = await connect(url);
    await other.script([['ALTER TABLE registered_keys ADD COLUMN later text']]);
    assert.deepEqual(await look(), []);
    await other.script([['ALTER TABLE registered_keys DROP COLUMN later']]);
  });

  it('closes soon, whether the server is there or not', async () => {
    const database = await openSchema(proxy.through(url));
    let isLive = false;
    database.watch({
      onChange() {},
      onGap() {},
      onLive() {
        isLive = true;
      },
    });
    await database.query('SELECT 1');
    await until('it listens', () => isLive);
    proxy.pause();
    await database.close();
  });

  it('tells its connections', async () => {
    const database = await connect(url, { maxConnections: 3 });
    const sleeps = Array.from({ length: 5 }, () => database.query('SELECT pg_sleep(0.2)'));
    await until('all are at work', () => database.connections.total === 3 && database.connections.waiting === 2);
    assert.deepEqual(database.connections, { total: 3, idle: 0, waiting: 2 });
    await Promise.all(sleeps);
    assert.deepEqual(database.connections, { total: 3, idle: 3, waiting: 0 });
  });

  describe('that is watched', () => {
    class Heard {
      readonly changes: string[] = [];
      gaps = 0;
      live = 0;
      onChange(hashPart: string): void {
        this.changes.push(hashPart);
      }
      onGap(): void {
        this.gaps++;
      }
      onLive(): void {
        this.live++;
      }
    }

    it('tells every change of every server, after its commit, and none that was not made', async () => {
      const [a, b] = [await connect(url), await connect(url)];
      const heard = new Heard();
      b.watch(heard);
      await until('it listens', () => heard.live === 1);
      const hashes = Array.from({ length: 450 }, (_, index) => String(index).padStart(32, '0'));
      await a.script([[UPSERT, 'x', '1'], ...a.announce(hashes)]);
      await a
        .write(async (sql) => {
          await sql.run(a.announce(['never']));
          throw new Error('no');
        })
        .catch(() => {});
      await b.script(b.announce(['own']));
      await until('all are heard', () => heard.changes.includes('own'));
      assert.deepEqual(heard.changes, [...hashes, 'own']);
      assert.equal(heard.gaps, 0);
    });

    it('hears nothing of another schema', async () => {
      const [a, b] = [await connect(url), await connect(url, { schema: 'other' })];
      const heard = new Heard();
      b.watch(heard);
      await until('it listens', () => heard.live === 1);
      await a.script(a.announce(['foreign']));
      await b.script(b.announce(['own']));
      await until('the own one is heard', () => heard.changes.length > 0);
      assert.deepEqual(heard.changes, ['own']);
    });

    it('says so when it was deaf, and when it hears again', async () => {
      const database = await connect(url);
      const heard = new Heard();
      database.watch(heard);
      await until('it listens', () => heard.live === 1);
      await server.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'`,
      );
      await until('the gap is noticed', () => heard.gaps === 1, 1000);
      await until('it listens again', () => heard.live === 2, 2000);
    });

    it('notices within about two seconds that nothing comes through any more', async () => {
      const database = await connect(proxy.through(url));
      const heard = new Heard();
      database.watch(heard);
      await until('it listens', () => heard.live === 1);
      proxy.pause();
      await until('the gap is noticed', () => heard.gaps === 1, 2500);
      proxy.resume();
      await until('it listens again', () => heard.live === 2);
    });
  });
});
