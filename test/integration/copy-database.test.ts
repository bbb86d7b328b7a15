import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { usesSince } from '../../server/cache/use/index.ts';
import { type Database, SqliteDatabase, type Statement } from '../../server/metadata/index.ts';
import { built } from '../support/built.ts';
import { runCli } from '../support/cli.ts';
import { makePath } from '../support/nars.ts';
import { PostgresServer } from '../support/postgres.ts';
import { type CacheOnPostgres, cacheOnPostgres, openSchema } from '../support/postgres-cache.ts';
import { completeUpload, createUpload, isServed, pushByCachix, pushByPut, sendPart } from '../support/push.ts';
import type { RunResult } from '../support/run.ts';
import { TestServer } from '../support/server.ts';
import { useRows } from '../support/uses.ts';

const MAIN = built('dist/server/main.js');

describe('copy-database', () => {
  let postgres: PostgresServer;
  let url: string;
  let server: TestServer;
  let cache: CacheOnPostgres;
  before(async () => {
    postgres = await PostgresServer.start();
  });
  beforeEach(async () => {
    url = await postgres.createDatabase();
    server = await TestServer.start();
  });
  afterEach(() => server.remove());
  after(() => postgres.remove());

  const next = () => path.join(server.folder, 'postgres.yaml');
  const words = () => ['copy-database', '-f', next(), '--data', server.data];
  const copy = (): Promise<RunResult> => runCli(words());

  /** A manifest for PostgreSQL with the keys and tokens that the server has generated. */
  async function writeNext(): Promise<void> {
    const folder = path.join(server.data, 'main');
    const [signing = ''] = await readdir(path.join(folder, 'signing'));
    const text = async (...names: string[]) => (await readFile(path.join(folder, ...names), 'utf8')).trim();
    cache = cacheOnPostgres({
      url,
      rootKey: await text('root.key'),
      signingKeys: [await text('signing', signing)],
      token: await text('tokens', 'push'),
    });
    await writeFile(next(), cache.manifest);
  }

  async function usesIn(database: Database): Promise<{ rows: Map<string, number>; since: number }> {
    try {
      return { rows: await useRows(database), since: await usesSince(database) };
    } finally {
      await database.close();
    }
  }

  async function fill(count: number): Promise<void> {
    const database = await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') });
    const rows = Array.from({ length: count }, (_, index): Statement[] => {
      const id = 1_000_000 + index;
      return [
        [
          `INSERT INTO objects (id, key, storage, name, size, state, created_at, nar_hash) VALUES (?, ?, 'disk', ?, ?, 'verified', 1, ?)`,
          id,
          `nar/${id}`,
          `objects/${id}`,
          index,
          `it's "${index}" \\ ß`,
        ],
        [
          `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at) VALUES (?, 'n', ?, '', '', 1)`,
          makePath({ contents: Buffer.alloc(1) }).hashPart,
          id,
        ],
      ];
    });
    await database.script(rows.flat());
    await database.close();
  }

  it('takes over paths, uploads, storages and keys, and the server goes on', async () => {
    const [put, cachix, begun] = [makePath(), makePath(), makePath()];
    await pushByPut(server, put);
    await pushByCachix(server, cachix);
    assert.ok(await isServed(server, put));
    const upload = await createUpload(server);
    const half = Math.ceil(begun.file.length / 2);
    const first = await sendPart(upload, 1, begun.file.subarray(0, half));
    const key = await server.publicKey();
    const pin = { name: 'release', storePath: put.storePath, artifacts: ['bin/x'], keep: { tag: 'Days', contents: 3 } };
    const pinned = async (at: TestServer) => (await fetch(`${at.api()}/pin`, { headers: await at.auth() })).json();
    const headers = await server.auth();
    assert.equal(
      (await fetch(`${server.api()}/pin`, { method: 'POST', headers, body: JSON.stringify(pin) })).status,
      200,
    );
    const pins = await pinned(server);
    await server.stop();
    const uses = await usesIn(await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') }));
    assert.deepEqual([...uses.rows.keys()], [put.hashPart]);
    await writeNext();
    const { code, stdout, stderr } = await copy();
    assert.equal(code, 0, stderr);
    assert.deepEqual(await usesIn(await openSchema(url)), uses);
    const folder = path.join(server.data, 'main');
    const lines = stdout.split('\n');
    assert.match(lines[0] ?? '', /^main: \d+ rows copied to schema main of database \S+ at \S+ and compared$/);
    for (const file of ['root.key', 'tokens/push', 'signing/main.localhost-1'])
      assert.ok(stdout.includes(path.join(folder, file)), stdout);
    for (const secret of cache.secrets) assert.ok(!`${stdout}${stderr}`.includes(secret));

    const moved = await TestServer.start({ folder: server.folder, manifest: cache.manifest, tokens: cache.tokens });
    try {
      for (const it of [put, cachix]) assert.ok(await isServed(moved, it));
      assert.deepEqual(await pinned(moved), pins);
      assert.equal(await moved.publicKey(), key);
      const again = { ...upload, server: moved, url: upload.url.replace(server.url, moved.url) };
      const second = await sendPart(again, 2, begun.file.subarray(half));
      await completeUpload(again, begun, [first, second]);
      assert.ok(await isServed(moved, begun));
      const fresh = makePath();
      await pushByPut(moved, fresh);
      assert.ok(await isServed(moved, fresh));
    } finally {
      await moved.stop();
    }
  });

  it('is refused while the server runs', async () => {
    await writeNext();
    const { code, stderr } = await copy();
    assert.equal(code, 1);
    assert.match(stderr, /is in use by another narwhal-server/);
  });

  it('is refused where there is nothing to copy, or no place to copy to', async () => {
    await writeNext();
    await server.stop();
    const nothing = await runCli(['copy-database', '-f', next(), '--data', path.join(server.folder, 'empty')]);
    assert.match(nothing.stderr, /db\.sqlite is not there; --data names the folder/);
    const nowhere = await runCli(['copy-database', '-f', server.manifestFile, '--data', server.data]);
    assert.match(nowhere.stderr, /cache main: its manifest has no database\.postgres to copy to/);
  });

  it('is refused into a schema that another cache has, and a second time', async () => {
    await pushByPut(server, makePath());
    await server.stop();
    await writeNext();
    const other = await TestServer.start({ ...cacheOnPostgres({ url }) });
    await other.remove();
    assert.match((await copy()).stderr, /the schema main belongs to another cache/);
    url = await postgres.createDatabase();
    await writeNext();
    assert.equal((await copy()).code, 0);
    assert.match((await copy()).stderr, /the schema main holds this cache already; nothing was copied/);
  });

  it('goes on after it was killed at any time, and no server starts on half of it', async () => {
    const path = makePath();
    await pushByPut(server, path);
    await server.stop();
    await writeNext();
    await fill(30_000);
    let kills = 0;
    let wasRefused = false;
    // On a busy machine the start alone takes seconds: the time grows with itself, so that few lives end before the copy begins.
    for (let afterMs = 300; ; afterMs *= 1.25) {
      const child = spawn(process.execPath, [MAIN, ...words()], { stdio: ['ignore', 'ignore', 'pipe'] });
      let stderr = '';
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
      const killed = await Promise.race([ended.then(() => false), delay(afterMs, true)]);
      if (!killed) {
        // The one before may have been killed when all was done and said.
        if ((await ended) !== 0) assert.match(stderr, /holds this cache already; nothing was copied/);
        break;
      }
      child.kill('SIGKILL');
      await ended;
      kills++;
      const database = new URL(url).pathname.slice(1);
      const marks = await postgres.query(`SELECT 1 FROM main.meta WHERE key = 'copying'`, { database }).catch(() => []);
      if (marks.length === 0 || wasRefused) continue;
      await assert.rejects(
        TestServer.start({ folder: server.folder, manifest: cache.manifest, tokens: cache.tokens }),
        /copy-database has not finished here; run it again, it goes on where it ended/,
      );
      wasRefused = true;
    }
    assert.ok(kills > 2 && wasRefused, `${kills} kills`);
    const moved = await TestServer.start({ folder: server.folder, manifest: cache.manifest, tokens: cache.tokens });
    try {
      assert.ok(await isServed(moved, path));
      await pushByCachix(moved, makePath());
    } finally {
      await moved.stop();
    }
    const database = new URL(url).pathname.slice(1);
    const [row] = await postgres.query<{ n: string }>('SELECT count(*) AS n FROM main.paths', { database });
    assert.equal(Number(row?.n), 30_002);
  });

  it('notices rows that differ', async () => {
    await pushByPut(server, makePath());
    await server.stop();
    await writeNext();
    const database = new URL(url).pathname.slice(1);
    await runCli(['migrate', '-f', next(), '--data', server.data]);
    await postgres.query(
      `INSERT INTO main.storages (name, kind, mode, location, settled) VALUES ('disk', 'local', 'ReadWrite', '/elsewhere', '')`,
      { database },
    );
    const { code, stderr } = await copy();
    assert.equal(code, 1);
    assert.match(
      stderr,
      /table storages differs: 1 rows here, 1 there\..*DROP SCHEMA "main" CASCADE there, and copy again/,
    );
  });
});
