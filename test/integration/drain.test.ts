import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import { runCli } from '../support/cli.ts';
import { assertConsistent } from '../support/disk.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { completeUpload, createUpload, isServed, pushByCachix, pushByPut, sendPart } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';
import { applyManifest, FAST, Poller, serveArgs, storageOf, untilPhase } from '../support/storages.ts';

const [SOME, EMPTY] = [`${'0'.repeat(32)}-some.drv`, `${'1'.repeat(32)}-empty.drv`];
const TOKENS = 'tokens:\n  - {name: push, permissions: [Write]}\n';

describe('a storage that is drained', () => {
  let folder: string;
  let server: TestServer;
  let paths: TestPath[];
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-drain-'));
    server = await TestServer.start({ manifest: manifest({ first: '' }), args: FAST });
    paths = [];
    for (const bytes of [100, 300_000, 1_500_000, 100, 2000, 50_000])
      paths.push(makePath({ contents: randomBytes(bytes) }));
    for (const [index, it] of paths.entries()) await (index % 2 ? pushByPut : pushByCachix)(server, it);
  });
  afterEach(async () => {
    await server.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const disk = (name: string) => path.join(folder, name);
  /** Storages in the order of the manifest; the texts are further fields. */
  function manifest(storages: Readonly<Record<string, string>>, spec = ''): string {
    const lines = Object.entries(storages).map(
      ([name, more]) => `  - {name: ${name}, local: {path: ${disk(name)}}${more}}\n`,
    );
    return cacheManifest('main', `${spec}storages:\n${lines.join('')}${TOKENS}`);
  }
  const filesIn = async (name: string) => {
    const objects = path.join(disk(name), 'objects');
    return (await readdir(objects, { recursive: true }))
      .filter((it) => it.includes('/'))
      .map((it) => path.join(objects, it));
  };
  const readyz = async () => (await fetch(`${server.adminUrl}/readyz?verbose`)).text();
  async function assertServed(list: readonly TestPath[] = paths): Promise<void> {
    for (const it of list) assert.ok(await isServed(server, it), it.storePath);
  }
  async function putLog(name: string, body: string): Promise<void> {
    const url = `${server.api()}/push/log/${name}`;
    assert.equal((await fetch(url, { method: 'PUT', headers: await server.auth(), body })).status, 200);
  }
  /** A change of the stopped server's database. */
  async function alter(sql: string): Promise<void> {
    const database = await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') });
    await database.script([[sql]]);
    await database.close();
  }

  it('moves objects of every kind while they are read, and can be removed afterwards', async () => {
    await putLog(SOME, 'old');
    await putLog(SOME, 'new');
    await putLog(EMPTY, '');
    const poller = Poller.start(server, paths);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await untilPhase(server, 'first', 'Drained');
    await poller.stop();
    assert.match(await readyz(), /^\[\+\] cache main storage first: drained: it can be removed/m);
    assert.deepEqual([(await filesIn('first')).length, (await filesIn('second')).length], [0, paths.length + 2]);
    const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    const total = paths.reduce((sum, it) => sum + it.file.length, 3);
    assert.match(metrics, /^narwhal_storage_drain_objects\{cache="main",storage="first"\} 0$/m);
    assert.match(metrics, /^narwhal_moved_objects_total\{cache="main",storage="first"\} 8$/m);
    assert.match(metrics, new RegExp(`^narwhal_moved_bytes_total\\{cache="main",storage="first"\\} ${total}$`, 'm'));
    await applyManifest(server, manifest({ second: '' }));
    assert.equal(await storageOf(server, 'first'), undefined);
    await assertServed();
    assert.equal(await (await fetch(`${server.api()}/log/${SOME}`)).text(), 'new');
    assert.equal(await (await fetch(`${server.api()}/log/${EMPTY}`)).text(), '');
    await server.stop();
    await assertConsistent(server);
    // The database has forgotten it: another folder may have its name.
    await rm(disk('first'), { recursive: true });
    await server.writeManifest(manifest({ first: '', second: '' }));
    await server.restart();
    await assertServed();
  });

  it('keeps the bytes of moved objects for a while', async () => {
    await server.stop();
    await server.writeManifest(manifest({ first: ', mode: Drain', second: '' }));
    await server.restart(['--move-grace', '3600']);
    await until('all is moved', async () => (await storageOf(server, 'first'))?.objects === 0);
    assert.equal((await filesIn('first')).length, paths.length);
    assert.match(await readyz(), /storage first: draining: all is moved; 6 objects wait for their removal/);
    await assertServed();
  });

  it('pauses where nothing else has room, deletes nothing, cannot be removed, and goes on when there is room', async () => {
    const full = { first: ', mode: Drain', second: ', capacity: 100Ki' };
    await applyManifest(server, manifest(full));
    await untilPhase(server, 'first', 'Paused');
    const status = await storageOf(server, 'first');
    assert.equal(status?.reason, 'NoSpace');
    assert.match(status?.lastError ?? '', /no storage of this cache has room for \d+ more bytes/);
    // The small ones had room all the same.
    assert.equal(status?.objects, 2);
    assert.match(await readyz(), /^\[!\] cache main storage first: draining pauses \(NoSpace\): /m);
    await assertServed();
    await server.writeManifest(manifest({ second: '' }));
    await until('the removal is refused', async () => /storage first holds 2 objects/.test(await readyz()));
    await server.stop();
    const again = await runCli(serveArgs(server));
    assert.equal(again.code, 1);
    assert.match(
      again.stderr,
      /cache main: storage first holds 2 objects.* cannot be removed; put it back with "mode: Drain"/,
    );
    await server.writeManifest(manifest(full));
    await server.restart();
    await untilPhase(server, 'first', 'Paused');
    await applyManifest(server, manifest({ ...full, second: '' }));
    await untilPhase(server, 'first', 'Drained');
    await assertServed();
  });

  it('waits where no other storage is writable', async () => {
    await applyManifest(server, manifest({ first: ', mode: Drain' }));
    await untilPhase(server, 'first', 'Paused');
    assert.equal((await storageOf(server, 'first'))?.reason, 'NoSpace');
    await assertServed();
  });

  it('pauses while it is not there, and goes on when it is back', async () => {
    await rename(disk('first'), disk('gone'));
    await until('it is ill', async () => (await storageOf(server, 'first'))?.phase === 'Unavailable');
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await until('it pauses', async () => (await storageOf(server, 'first'))?.reason === 'Unavailable');
    await rename(disk('gone'), disk('first'));
    await untilPhase(server, 'first', 'Drained');
    await assertServed();
  });

  it('goes on after kill -9 in the middle, without a duplicate and without a leftover', async () => {
    const slow = manifest({ first: ', mode: Drain', second: '' }, 'limits: {moveRate: 700Ki}\n');
    await server.writeManifest(slow);
    const moving = async () => ((await storageOf(server, 'first'))?.movedObjects ?? 0) > 1;
    await until('it is in the middle', moving);
    assert.equal(await server.stop('SIGKILL'), null);
    const left = (await filesIn('first')).length;
    assert.ok(left > 0);
    await server.writeManifest(slow.replace('700Ki', '0'));
    await server.restart();
    await untilPhase(server, 'first', 'Drained');
    await assertServed();
    await server.stop();
    await assertConsistent(server);
    assert.deepEqual([(await filesIn('first')).length, (await filesIn('second')).length], [0, paths.length]);
  });

  it('stops when it is set back', async () => {
    const limits = 'limits: {moveRate: 100Ki}\n';
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }, limits));
    await until('it has begun', async () => ((await storageOf(server, 'first'))?.movedObjects ?? 0) > 0);
    await applyManifest(server, manifest({ first: '', second: '' }, limits));
    await untilPhase(server, 'first', 'Ready');
    const late = makePath();
    await pushByPut(server, late);
    assert.ok((await filesIn('first')).length > 1);
    await assertServed([...paths, late]);
  });

  it('moves several storages at once', async () => {
    await applyManifest(server, manifest({ first: ', mode: ReadOnly', second: '' }));
    const more = [makePath(), makePath()];
    for (const it of more) await pushByPut(server, it);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: ', mode: Drain', third: '' }));
    for (const name of ['first', 'second']) await untilPhase(server, name, 'Drained');
    await assertServed([...paths, ...more]);
    assert.equal((await filesIn('third')).length, paths.length + 2);
  });

  it('is drained without objects whose bytes are gone or wrong, says what was lost, and a push puts them elsewhere', async () => {
    const sizes = await Promise.all(
      (await filesIn('first')).map(async (file) => ({ file, bytes: await readFile(file) })),
    );
    const bySize = sizes.sort((a, b) => b.bytes.length - a.bytes.length);
    const [largest, second] = bySize;
    assert.ok(largest && second);
    const lost = paths.filter((it) => it.file.equals(largest.bytes) || it.file.equals(second.bytes));
    await rm(largest.file);
    second.bytes[1000] = (second.bytes[1000] ?? 0) ^ 1;
    await writeFile(second.file, second.bytes);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await untilPhase(server, 'first', 'Drained');
    const status = await storageOf(server, 'first');
    assert.deepEqual([status?.objects, status?.lostObjects, status?.failedObjects], [0, 2, 0]);
    assert.match(await readyz(), /^\[\+\] cache main storage first: drained: .*; 2 of its objects lost$/m);
    await until('the log says so too', () => server.output.includes('storage is drained, but for 2 lost objects'));
    for (const it of lost) assert.ok(server.output.includes(`"paths":["${it.hashPart}"]`));
    // It need not be given up: nothing can be had back from it.
    await applyManifest(server, manifest({ second: '' }));
    assert.match(await readyz(), /^\[!\] cache main objects: 2 are lost \(storage first: 2\)/m);
    await assertServed(paths.filter((it) => !lost.includes(it)));
    for (const [index, it] of lost.entries()) {
      assert.equal(await isServed(server, it), false);
      await (index % 2 ? pushByPut : pushByCachix)(server, it);
    }
    await assertServed();
    assert.match(await readyz(), /^\[\+\] cache main objects: none is lost$/m);
    assert.equal((await filesIn('second')).length, paths.length);
    await server.stop();
    await assertConsistent(server);
  });

  it('gives up lost objects of a storage that is gone when check is asked to repair', async () => {
    const [file] = await filesIn('first');
    assert.ok(file);
    await rm(file);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await untilPhase(server, 'first', 'Drained');
    await applyManifest(server, manifest({ second: '' }));
    const check = (...args: string[]) => runCli(['check', ...args, '-f', server.manifestFile, '--data', server.data]);
    const found = await check();
    assert.equal(found.code, 1);
    assert.match(found.stdout, /^main: first: nar\/\S+ has a row but no bytes; paths: \w{32}$/m);
    assert.equal((await check('--repair')).code, 0);
    assert.match(await readyz(), /^\[\+\] cache main objects: none is lost$/m);
    assert.equal((await check('--contents')).code, 0);
  });

  it('does not lose what lies on a disk that goes while it is drained', async () => {
    await applyManifest(server, manifest({ first: ', mode: Drain' }));
    await untilPhase(server, 'first', 'Paused');
    await rename(disk('first'), `${disk('first')}.away`);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await until('it is away', async () => (await storageOf(server, 'first'))?.reason === 'Unavailable');
    assert.equal((await storageOf(server, 'first'))?.lostObjects, 0);
    await rename(`${disk('first')}.away`, disk('first'));
    await untilPhase(server, 'first', 'Drained');
    await assertServed();
  });

  it('lets uploads that had begun in it end there, and gives up those of more than an hour', async () => {
    const it1 = makePath();
    const upload = await createUpload(server);
    const etags = [await sendPart(upload, 1, it1.file)];
    const old = await createUpload(server);
    await sendPart(old, 1, makePath().file);
    await applyManifest(server, manifest({ first: ', mode: Drain', second: '' }));
    await until('all is moved', async () => (await storageOf(server, 'first'))?.objects === 0);
    assert.equal((await storageOf(server, 'first'))?.phase, 'Draining');
    await completeUpload(upload, it1, etags);
    await assertServed([it1]);
    await server.stop();
    await alter('UPDATE uploads SET created_at = created_at - 3600001');
    await server.restart();
    await untilPhase(server, 'first', 'Drained');
    await assertServed([...paths, it1]);
    assert.deepEqual(await readdir(path.join(disk('first'), '.staging')), []);
  });

  describe('by giving it up', () => {
    const missing = async () => {
      const response = await fetch(`${server.api()}/narinfo`, {
        method: 'POST',
        headers: await server.auth(),
        body: JSON.stringify(paths.map((it) => it.hashPart)),
      });
      return (await response.json()) as string[];
    };

    it('unpublishes its paths, names them, never touches it, and can then be removed', async () => {
      await applyManifest(server, manifest({ first: ', mode: ReadOnly', second: '' }));
      const kept = makePath();
      await pushByPut(server, kept);
      await assertServed();
      // It cannot even be reached.
      await rename(disk('first'), disk('gone'));
      const before = await readdir(disk('gone'), { recursive: true });
      await applyManifest(server, manifest({ first: ', mode: Abandoned', second: '' }));
      await until('all of it is given up', async () => (await storageOf(server, 'first'))?.objects === 0);
      assert.equal((await storageOf(server, 'first'))?.phase, 'Abandoned');
      for (const it of paths) {
        assert.equal((await fetch(`${server.url}/${it.hashPart}.narinfo`)).status, 404);
        assert.equal((await fetch(`${server.url}/${it.narUrl}`)).status, 404);
        assert.ok(server.output.includes(`"storePath":"${it.storePath}","msg":"given up"`), it.storePath);
      }
      assert.deepEqual((await missing()).sort(), paths.map((it) => it.hashPart).sort());
      await assertServed([kept]);
      await applyManifest(server, manifest({ second: '' }));
      await server.stop();
      await server.restart();
      assert.deepEqual((await missing()).sort(), paths.map((it) => it.hashPart).sort());
      assert.deepEqual(await readdir(disk('gone'), { recursive: true }), before);
      // What is lost can be pushed again, and the storage can come back: what was given up is removed from it.
      for (const it of paths) await pushByPut(server, it);
      await rename(disk('gone'), disk('first'));
      await applyManifest(server, manifest({ first: '', second: ', mode: ReadOnly' }));
      assert.deepEqual(await filesIn('first'), []);
      await pushByPut(server, makePath());
      assert.equal((await filesIn('first')).length, 1);
      await assertServed([...paths, kept]);
      await server.stop();
      await assertConsistent(server);
    });

    it('goes on at the next start, and cannot be taken back by an edit of a stopped server', async () => {
      await server.stop();
      await server.writeManifest(manifest({ second: '' }));
      assert.match((await runCli(serveArgs(server))).stderr, /or with "mode: Abandoned" to give its data up/);
      await server.writeManifest(manifest({ first: ', mode: Abandoned', second: '' }));
      await server.restart();
      await until('all of it is given up', async () => (await storageOf(server, 'first'))?.objects === 0);
      assert.equal((await missing()).length, paths.length);
      assert.equal((await filesIn('first')).length, paths.length);
      // The same storage, in use again without having been removed.
      await applyManifest(server, manifest({ first: '', second: '' }));
      assert.equal((await filesIn('first')).length, 0);
      for (const it of paths) await pushByPut(server, it);
      await assertServed();
    });
  });
});
