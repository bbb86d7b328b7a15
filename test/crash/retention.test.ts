import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import type { CrashPoint } from '../../server/storage/index.ts';
import { assertConsistent } from '../support/disk.ts';
import { refer } from '../support/paths.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';
import { FAST } from '../support/storages.ts';

const CACHE = 'storages:\n  - {name: disk, local: {}}\ntokens:\n  - {name: push, permissions: [Write]}\n';
const RETENTION = 'retention: {days: 30, minAgeSeconds: 0, graceSeconds: 0}\n';
const ARGS = [...FAST, '--roots-first', '0.1'];
const POINTS: readonly CrashPoint[] = ['after-doom', 'after-sweep', 'after-expire', 'before-delete'];

describe('a server that is killed while it collects', () => {
  let folder: string;
  let server: TestServer | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-crash-retention-'));
  });
  afterEach(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = (fields: string, env: Record<string, string> = {}) =>
    TestServer.start({ folder, manifest: cacheManifest('main', `${CACHE}${fields}`), args: ARGS, env });
  async function inDatabase<T>(work: (database: SqliteDatabase) => Promise<T>): Promise<T> {
    const database = await SqliteDatabase.open({ file: path.join(folder, 'data', 'main', 'db.sqlite') });
    try {
      return await work(database);
    } finally {
      await database.close();
    }
  }

  for (const point of POINTS)
    it(`${point}: goes on with it, and nothing that stays misses anything`, async () => {
      const shared = refer('shared');
      const young = Array.from({ length: 4 }, (_, index) => refer(`young${index}`, shared));
      const lib = refer('lib');
      const old = refer('old', lib, shared);
      server = await start('');
      for (const it of [shared, lib, old, ...young]) await pushByPut(server, it);
      await server.stop();
      await inDatabase((database) =>
        database.script([
          [`UPDATE meta SET value = '0' WHERE key = 'uses_since'`],
          ['DELETE FROM uses'],
          ...[old, lib].map((it) => ['UPDATE paths SET published_at = 1 WHERE hash_part = ?', it.hashPart] as const),
        ]),
      );
      const armed = await start(RETENTION, { NARWHAL_CRASH_AT: point }).catch((error: unknown) => {
        // It was quicker than its start.
        if (!/the process ended with null/.test(String(error))) throw error;
      });
      if (armed !== undefined) assert.equal(await armed.ended(), null, 'the process ended by a signal');
      server = await start(RETENTION);
      const running = server;
      for (const it of [shared, ...young]) assert.ok(await isServed(running, it), it.name);
      // Asked of the rows: whoever asks the server uses them, and what is used stays.
      await until('both have gone', () =>
        inDatabase(async (database) => (await database.query('SELECT 1 FROM objects')).length === 5),
      );
      for (const it of [old, lib]) {
        const answer = await fetch(`${running.api()}/${it.narUrl}`);
        await answer.arrayBuffer();
        assert.equal(answer.status, 404);
      }
      await server.stop();
      await assertConsistent(server);
      await inDatabase(async (database) => {
        assert.deepEqual(await database.query('SELECT * FROM retired'), []);
        assert.deepEqual(await database.query('SELECT * FROM doomed'), []);
        assert.deepEqual(await database.query('SELECT * FROM waiting'), []);
        assert.equal((await database.query('SELECT * FROM paths')).length, 5);
      });
    });
});
