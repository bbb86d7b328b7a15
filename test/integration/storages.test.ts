import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { ServerStatus } from '../../crds/index.ts';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import {
  completeUpload,
  createUpload,
  isServed,
  partUrl,
  pushByCachix,
  pushByPut,
  Refusal,
  sendPart,
} from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';

const TOKENS = 'tokens:\n  - {name: push, permissions: [Write]}\n';

describe('the storages of a cache', () => {
  let folder: string;
  let server: TestServer | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-storages-'));
  });
  afterEach(async () => {
    await server?.remove();
    server = undefined;
    await rm(folder, { recursive: true, force: true });
  });

  const disk = (name: string) => path.join(folder, name);
  /** Storages in the order of the manifest; `more` are further fields. */
  function manifest(storages: Readonly<Record<string, string>>, spec = ''): string {
    const lines = Object.entries(storages).map(
      ([name, more]) => `  - {name: ${name}, local: {path: ${disk(name)}}${more}}\n`,
    );
    return cacheManifest('main', `${spec}storages:\n${lines.join('')}${TOKENS}`);
  }

  async function start(text: string, args: readonly string[] = []): Promise<TestServer> {
    server = await TestServer.start({
      manifest: text,
      args: ['--storage-retry', '0.05', '--transient-retry', '0.2', '--housekeeping-interval', '0.1', ...args],
    });
    return server;
  }

  const readyz = async (it: TestServer) => {
    const response = await fetch(`${it.adminUrl}/readyz?verbose`);
    return { status: response.status, text: await response.text() };
  };
  const objectsIn = async (name: string) =>
    (await readdir(path.join(disk(name), 'objects'), { recursive: true })).filter((it) => it.includes('/')).length;

  describe('when the folder of one goes away', () => {
    let it1: TestServer;
    let onFirst: TestPath;
    beforeEach(async () => {
      it1 = await start(manifest({ first: '', second: '' }));
      onFirst = makePath();
      await pushByPut(it1, onFirst);
      await rename(disk('first'), disk('gone'));
    });

    const isIll = () => until('the storage is ill', async () => (await readyz(it1)).text.includes('has no marker'));

    it('answers its NARs with 503 and when to come back, and goes on serving narinfos', async () => {
      await isIll();
      const nar = await fetch(`${it1.url}/${onFirst.narUrl}`);
      assert.equal(nar.status, 503);
      assert.match(nar.headers.get('retry-after') ?? '', /^\d+$/);
      assert.equal(await nar.text(), 'temporarily unavailable\n');
      assert.equal((await fetch(`${it1.url}/${onFirst.hashPart}.narinfo`)).status, 200);
    });

    it('pushes to the others, even before it has noticed', async () => {
      const early = makePath();
      await pushByPut(it1, early);
      await isIll();
      const late = makePath();
      await pushByPut(it1, late);
      await pushByCachix(it1, makePath());
      for (const it of [early, late]) assert.ok(await isServed(it1, it));
      assert.equal(await objectsIn('second'), 3);
    });

    it('stays ready and names it', async () => {
      await isIll();
      const { status, text } = await readyz(it1);
      assert.equal(status, 200);
      assert.match(text, /^\[!\] cache main storage first: .* has no marker: the disk is not mounted/m);
      assert.match(text, /^\[\+\] cache main storage second: ReadWrite, /m);
    });

    it('touches nothing where it was, with a restart neither', async () => {
      await isIll();
      await mkdir(disk('first'));
      await pushByPut(it1, makePath());
      assert.equal(await it1.stop(), 0);
      await it1.restart();
      await isIll();
      assert.deepEqual(await readdir(disk('first')), []);
      await rm(disk('first'), { recursive: true });
      await rename(disk('gone'), disk('first'));
      await until('its NAR is served again', () => isServed(it1, onFirst).catch(() => false));
    });

    it('takes it back without a restart', async () => {
      await isIll();
      await rename(disk('gone'), disk('first'));
      await until('the storage is back', async () => !(await readyz(it1)).text.includes('has no marker'));
      assert.ok(await isServed(it1, onFirst));
      const before = await objectsIn('first');
      await pushByPut(it1, makePath());
      assert.equal(await objectsIn('first'), before + 1);
    });
  });

  it('makes a push wait for the only storage, a while', async () => {
    const it1 = await start(manifest({ only: '' }), ['--transient-retry', '30']);
    const first = makePath();
    await pushByPut(it1, first);
    await rename(disk('only'), disk('gone'));
    await until('the storage is ill', async () => (await readyz(it1)).text.includes('has no marker'));
    const second = makePath();
    const push = pushByPut(it1, second);
    await rename(disk('gone'), disk('only'));
    await push;
    assert.ok(await isServed(it1, second));
  });

  it('are refused where the folder belongs to another cache', async () => {
    const text = (names: readonly string[]) =>
      names
        .map((name) => cacheManifest(name, `storages:\n  - {name: disk, local: {path: ${disk('shared')}}}\n${TOKENS}`))
        .join('---\n');
    await assert.rejects(start(text(['one', 'two'])), /narwhal-server: .*belongs to another cache or storage/);
  });

  it('are refused where the folder is new and holds something else', async () => {
    await mkdir(disk('first'));
    await writeFile(path.join(disk('first'), 'thesis.tex'), '');
    await assert.rejects(start(manifest({ first: '' })), /narwhal-server: cache main: storage first: .* not empty/);
  });

  it('takes nothing in where the only one is read-only, and serves what is there', async () => {
    const it1 = await start(manifest({ first: '' }));
    const path1 = makePath();
    await pushByPut(it1, path1);
    await it1.writeManifest(manifest({ first: ', mode: ReadOnly' }));
    await until('the change is applied', () => it1.output.includes('the changed manifests are applied'));
    await assert.rejects(pushByPut(it1, makePath()), (error: unknown) => {
      return error instanceof Refusal && error.status === 413 && /every storage .* is read-only/.test(error.text);
    });
    assert.ok(await isServed(it1, path1));
  });

  it('go to the next one at their capacity', async () => {
    const it1 = await start(manifest({ first: ', capacity: 1Mi', second: '' }));
    const big = () => makePath({ contents: randomBytes(600 * 1024) });
    for (let push = 0; push < 3; push++) await pushByPut(it1, big());
    assert.equal(await objectsIn('first'), 1);
    assert.equal(await objectsIn('second'), 2);
    await pushByPut(it1, makePath());
    assert.equal(await objectsIn('first'), 2);
  });

  it('tell when they have no room', async () => {
    const it1 = await start(
      manifest({ first: ', capacity: 1500k', second: ', capacity: 10Mi', third: ', mode: ReadOnly' }),
    );
    const full = async () => {
      const status = (await (await fetch(`${it1.adminUrl}/status`)).json()) as ServerStatus;
      return status.caches[0]?.storages.map((storage) => storage.full ?? false);
    };
    assert.deepEqual(await full(), [false, false, false]);
    await pushByPut(it1, makePath({ contents: randomBytes(600 * 1024) }));
    assert.deepEqual(await full(), [true, false, false]);
    const { status, text } = await readyz(it1);
    assert.match(text, /storage first.*no room/);
    assert.equal(status, 200);
    await it1.writeManifest(manifest({ first: ', capacity: 10Mi', second: '', third: ', capacity: 1k' }));
    await until('more room', async () => isDeepStrictEqual(await full(), [false, false, true]));
  });

  it('are used in turn with RoundRobin', async () => {
    const it1 = await start(manifest({ first: '', second: '' }, 'strategy: RoundRobin\n'));
    for (let push = 0; push < 6; push++) await pushByPut(it1, makePath());
    assert.deepEqual([await objectsIn('first'), await objectsIn('second')], [3, 3]);
  });

  it('cannot be removed while they hold something, not by a reload and not at a start', async () => {
    const it1 = await start(manifest({ first: '', second: '' }));
    const path1 = makePath();
    await pushByPut(it1, path1);
    await it1.writeManifest(manifest({ second: '' }));
    await until('the change is refused', async () => /storage first holds 1 objects/.test((await readyz(it1)).text));
    assert.ok(await isServed(it1, path1));
    assert.equal(await it1.stop(), 0);
    const again = await runCli([
      '-f',
      it1.manifestFile,
      '--data',
      it1.data,
      '--listen',
      '127.0.0.1:0',
      '--admin-listen',
      '127.0.0.1:0',
    ]);
    assert.equal(again.code, 1);
    assert.match(
      again.stderr,
      /^narwhal-server: cache main: storage first holds 1 objects and cannot be removed; put it back with "mode: Drain"/m,
    );
  });

  it('can be removed while they are empty, and come back', async () => {
    const it1 = await start(manifest({ first: '', second: '' }));
    for (const text of [manifest({ first: '' }), manifest({ first: '', second: '' })]) {
      const seen = it1.output.length;
      await it1.writeManifest(text);
      await until('the change is applied', () => it1.output.includes('the changed manifests are applied', seen));
    }
    assert.match((await readyz(it1)).text, /\[\+\] cache main storage second: /);
  });

  it('cannot be removed while an upload is open in them', async () => {
    const it1 = await start(manifest({ first: '', second: '' }), ['--housekeeping-interval', '60']);
    const it = makePath({ contents: randomBytes(1000) });
    const upload = await createUpload(it1);
    const etags = [await sendPart(upload, 1, it.file)];
    await it1.writeManifest(manifest({ second: '' }));
    await until('the change is refused', async () => /first holds 1 open uploads/.test((await readyz(it1)).text));
    await completeUpload(upload, it, etags);
    assert.ok(await isServed(it1, it));
  });

  it('end the uploads without a part that had begun in one that is removed', async () => {
    const it1 = await start(manifest({ first: '', second: '' }), ['--housekeeping-interval', '60']);
    const it = makePath({ contents: randomBytes(1000) });
    const upload = await createUpload(it1);
    const url = await partUrl(upload, 1, it.file);
    const seen = it1.output.length;
    await it1.writeManifest(manifest({ second: '' }));
    await until('the change is applied', () => it1.output.includes('the changed manifests are applied', seen));
    assert.equal((await fetch(url, { method: 'PUT', body: new Uint8Array(it.file) })).status, 404);
    assert.equal(await objectsIn('first'), 0);
    await pushByCachix(it1, it);
    assert.equal(await objectsIn('second'), 1);
  });

  it('stay as they are when a change of them cannot be made', async () => {
    const it1 = await start(manifest({ first: '' }));
    await mkdir(disk('second'));
    await writeFile(path.join(disk('second'), 'thesis.tex'), '');
    await it1.writeManifest(manifest({ second: '', first: '' }));
    await until('the change is refused', async () => (await readyz(it1)).text.includes('not empty'));
    await pushByPut(it1, makePath());
    assert.equal(await objectsIn('first'), 1);
    await rm(path.join(disk('second'), 'thesis.tex'));
    await it1.writeManifest(`${manifest({ second: '', first: '' })}\n`);
    await until('the change is applied', () => it1.output.includes('the changed manifests are applied'));
    await pushByPut(it1, makePath());
    assert.equal(await objectsIn('second'), 1);
  });

  it('are not moved while the server runs', async () => {
    const it1 = await start(manifest({ first: '' }));
    await it1.writeManifest(manifest({ first: '' }).replace(disk('first'), disk('elsewhere')));
    await until('the change is refused', async () => (await readyz(it1)).text.includes('to move it, stop the server'));
  });
});

describe('a data folder', () => {
  it('takes one server at a time', async () => {
    const server = await TestServer.start();
    try {
      const args = [
        '-f',
        server.manifestFile,
        '--data',
        server.data,
        '--listen',
        '127.0.0.1:0',
        '--admin-listen',
        '127.0.0.1:0',
      ];
      const second = await runCli(args);
      assert.equal(second.code, 1);
      assert.match(
        second.stderr,
        /^narwhal-server: cache main: \S+ is in use by another narwhal-server; stop it first/m,
      );
      assert.equal((await fetch(`${server.url}/nix-cache-info`)).status, 200);
    } finally {
      await server.remove();
    }
  });
});
