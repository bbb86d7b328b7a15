import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import { Pins } from '../../server/cache/pins/index.ts';
import { addRevision, dropExpired, removeName } from '../../server/cache/pins/rows.ts';
import type { PostgresDatabase, Sql } from '../../server/metadata/index.ts';
import { Fleet } from '../support/fleet.ts';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { brief, gathered, hashPartOf, pinOf, publishRows } from '../support/pins.ts';
import { PostgresServer } from '../support/postgres.ts';
import { openSchema } from '../support/postgres-cache.ts';
import { pushByPut } from '../support/push.ts';
import { until } from '../support/server.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

const PATHS = Array.from({ length: 10 }, (_, index) => index);
const API = { origin: 'api', token: null } as const;

describeWith('postgres', 'pins of servers that share a database', () => {
  let postgres: PostgresServer;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  after(() => postgres.remove());

  describe('in rows', () => {
    let databases: [PostgresDatabase, PostgresDatabase];
    let servers: [Pins, Pins];
    beforeEach(async () => {
      const url = await postgres.createDatabase();
      databases = [await openSchema(url), await openSchema(url)];
      servers = [pinsOn(databases[0]), pinsOn(databases[1])];
      await publishRows(databases[0], PATHS);
    });
    afterEach(async () => {
      for (const database of databases) await database.close();
    });
    const pinsOn = (database: PostgresDatabase) =>
      new Pins({ database, revive: async () => [], logger: pino({ level: 'silent' }) });
    const history = (name: string) => gathered(servers[0].history(name));

    /** Does `first` on one server up to just before its commit, then begins `second` on the other. */
    async function inOrder<T>(first: (sql: Sql) => Promise<unknown>, second: () => Promise<T>): Promise<T> {
      const [a, b] = databases;
      let begun: Promise<T> | undefined;
      await a.write(async (sql) => {
        await first(sql);
        begun = second();
        await until('the other waits for the row', async () => {
          const rows = await a.query(
            `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
          );
          return rows.length > 0;
        });
      });
      assert.ok(begun !== undefined && b !== undefined);
      return begun;
    }

    it('have numbers without a gap, each once, whoever adds them', async () => {
      for (let round = 0; round < 3; round++) {
        const name = `n${round}`;
        await Promise.all(
          Array.from({ length: 60 }, (_, index) =>
            servers[index % 2 === 0 ? 0 : 1].pin(pinOf(name, index % 10, { artifacts: [`a${index}`] }), null),
          ),
        );
        const numbers = (await history(name)).map(({ revision }) => revision);
        assert.deepEqual(
          numbers,
          Array.from({ length: 60 }, (_, index) => 60 - index),
        );
      }
    });

    it('are added once when two servers hear the same at once', async () => {
      await Promise.all(
        Array.from({ length: 40 }, (_, index) => servers[index % 2 === 0 ? 0 : 1].pin(pinOf('a', 0), null)),
      );
      assert.deepEqual(brief(await history('a')), ['1:p0']);
    });

    it('follow a revision that another server is about to commit', async () => {
      for (const before of [0, 1]) {
        const name = `n${before}`;
        if (before > 0) await servers[0].pin(pinOf(name, 0), null);
        await inOrder(
          (sql) => addRevision(sql, pinOf(name, 1), API, Date.now()),
          () => servers[1].pin(pinOf(name, 2), null),
        );
        assert.deepEqual(
          brief(await history(name)),
          [`${before + 2}:p2`, `${before + 1}:p1`, '1:p0'].slice(0, before + 2),
        );
      }
    });

    it('begin with 1 after they were removed, and all go that were there, in either order', async () => {
      await servers[0].pin(pinOf('a', 0), null);
      await inOrder(
        (sql) => removeName(sql, 'a'),
        () => servers[1].pin(pinOf('a', 1), null),
      );
      assert.deepEqual(brief(await history('a')), ['1:p1']);
      await inOrder(
        (sql) => addRevision(sql, pinOf('a', 2), API, Date.now()),
        () => servers[1].unpin('a'),
      );
      assert.deepEqual(await gathered(servers[0].list()), []);
      assert.deepEqual(await gathered(servers[0].pinnedHashParts()), []);
    });

    it('stay where their rule has just become another', async () => {
      const keep = { tag: 'Revisions', contents: 1 } as const;
      await servers[0].pin(pinOf('a', 0), null);
      await servers[0].pin(pinOf('a', 1, { keep }), null);
      const dropped = await inOrder(
        (sql) => addRevision(sql, pinOf('a', 1), API, Date.now()),
        () => databases[1].write((sql) => dropExpired(sql, 'a', Date.now())),
      );
      assert.equal(dropped, 0);
      assert.equal((await history('a')).length, 3);
    });

    it('belong to the manifest from the moment in which a server writes it', async () => {
      const pinned = inOrder(
        (sql) => addRevision(sql, pinOf('a', 0), { origin: 'manifest', token: null }, Date.now()),
        () => servers[1].pin(pinOf('a', 1), null),
      );
      await assert.rejects(pinned, { code: 'Conflict' });
      assert.deepEqual(brief(await history('a')), ['1:p0']);
    });

    it('are those of the manifest that both have, whichever was first', async () => {
      const [older, newer] = [
        [pinOf('a', 0), pinOf('gone', 1)],
        [pinOf('a', 2), pinOf('new', 3)],
      ];
      for (let round = 0; round < 5; round++) {
        await Promise.all(servers.map((it) => it.use(older)));
        await Promise.all(servers.map((it) => it.use(newer)));
        assert.deepEqual(
          (await gathered(servers[0].list())).map(({ name, path: { name: pinned } }) => [name, pinned]),
          [
            ['a', 'p2'],
            ['new', 'p3'],
          ],
        );
        const numbers = (await history('a')).map(({ revision }) => revision);
        assert.deepEqual(
          numbers,
          numbers.map((_, index) => numbers.length - index),
        );
      }
      assert.ok((await gathered(servers[0].pinnedHashParts())).includes(hashPartOf(0)), 'its older revisions stay');
    });
  });

  it('of a manifest are written later, where the database is away when it is taken over', async () => {
    const proxy = await TcpProxy.start({ host: postgres.host, port: postgres.port });
    const url = await postgres.createDatabase();
    const patience = { readPatienceMs: 200, writePatienceMs: 200 };
    const database = await openSchema(proxy.through(url), patience);
    try {
      const pins = new Pins({ database, revive: async () => [], logger: pino({ level: 'silent' }) });
      await proxy.refuse(true);
      proxy.cut();
      await pins.use([pinOf('a', 1)]);
      await pins.use([pinOf('b', 1)]);
      await proxy.refuse(false);
      assert.deepEqual(await gathered(pins.list()), []);
      await pins.settle();
      assert.deepEqual(
        (await gathered(pins.list())).map(({ name }) => name),
        ['b'],
      );
    } finally {
      await database.close();
      await proxy.close();
    }
  });

  it('are the same at every server', async () => {
    const shared = await mkdtemp(path.join(os.tmpdir(), 'narwhal-pins-'));
    const path1 = makePath({ contents: randomBytes(100) });
    const pins = [{ name: 'release', storePath: path1.storePath }];
    const fleet = await Fleet.start({
      url: await postgres.createDatabase(),
      storages: [{ name: 'disk', local: { path: path.join(shared, 'disk') } }],
      servers: 2,
      spec: { pins },
    });
    try {
      const call = async (server: number, method: string, where: string, body?: object) => {
        const it = fleet.at(server);
        const init = { method, headers: await it.auth('push'), ...(body && { body: JSON.stringify(body) }) };
        return fetch(`${it.api()}/pin${where}`, init);
      };
      const names = async (server: number) =>
        ((await (await call(server, 'GET', '')).json()) as { name: string }[]).map(({ name }) => name).sort();
      await pushByPut(fleet.at(0), path1);
      const { storePath } = path1;
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          call(index, 'POST', '', { name: 'a', storePath, artifacts: [`f${index}`], keep: null }),
        ),
      );
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      for (const server of [0, 1]) {
        assert.deepEqual(await names(server), ['a', 'release']);
        const history = (await (await call(server, 'GET', '/a')).json()) as { revision: number }[];
        assert.deepEqual(
          history.map(({ revision }) => revision),
          Array.from({ length: 20 }, (_, index) => 20 - index),
        );
        assert.equal((await call(server, 'POST', '', { name: 'release', storePath })).status, 409);
      }
      assert.equal((await call(1, 'DELETE', '/a')).status, 200);
      assert.deepEqual(await names(0), ['release']);
    } finally {
      await fleet.remove();
      await rm(shared, { recursive: true, force: true });
    }
  });
});
