// A group of the system that may read published bytes, and nothing else of a storage.
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makePath } from '../support/nars.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';

/** Of nobody here; root may give files to any group. */
const GID = 54_321;
const isRoot = process.getuid?.() === 0;

describe('a group that may read objects', () => {
  let folder: string;
  let server: TestServer | undefined;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-group-'));
    await chmod(folder, 0o711);
  });
  afterEach(async () => {
    await server?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const root = () => path.join(folder, 'disk');
  const manifest = (where = root()) =>
    cacheManifest(
      'main',
      `storages:\n  - {name: disk, local: {path: ${where}}}\ntokens:\n  - {name: push, permissions: [Write]}\n`,
    );
  const start = async (...args: string[]) => {
    server = await TestServer.start({ manifest: manifest(), args });
    return server;
  };
  const modeOf = async (...names: string[]) => {
    const { gid, mode } = await stat(path.join(root(), ...names));
    return [gid, (mode & 0o777).toString(8)];
  };
  /** Every file and folder of `objects` and their owners and modes, without repetitions. */
  async function modesOfObjects(): Promise<{ folders: unknown[]; files: unknown[] }> {
    const folders = new Set<string>();
    const files = new Set<string>();
    for (const hour of await readdir(path.join(root(), 'objects'))) {
      folders.add(String(await modeOf('objects', hour)));
      for (const name of await readdir(path.join(root(), 'objects', hour)))
        files.add(String(await modeOf('objects', hour, name)));
    }
    return { folders: [...folders], files: [...files] };
  }

  (isRoot ? it : it.skip)('gets what is pushed, what was there before, and nothing else', async () => {
    await mkdir(root(), { mode: 0o700 });
    const before = await start();
    await pushByPut(before, makePath());
    assert.deepEqual((await modesOfObjects()).files, [`${process.getgid?.()},600`]);
    const old = before.folder;
    await before.stop();
    server = await TestServer.start({ folder: old, args: ['--objects-group', String(GID)] });
    const [one, two] = [makePath(), makePath()] as const;
    await pushByPut(server, one);
    await pushByCachix(server, two);
    assert.deepEqual(await modesOfObjects(), { folders: [`${GID},750`], files: [`${GID},640`] });
    assert.deepEqual(await modeOf(), [GID, '710']);
    assert.deepEqual(await modeOf('objects'), [GID, '750']);
    assert.deepEqual(await modeOf('.staging'), [process.getgid?.(), '700']);
    for (const it of [one, two]) assert.ok(await isServed(server, it));
    await server.stop();
    await rm(old, { recursive: true, force: true });
  });

  (isRoot ? it : it.skip)(
    'gets what a server without it has written meanwhile into a folder of the same hour',
    async () => {
      await mkdir(root(), { mode: 0o700 });
      const first = await start('--objects-group', String(GID));
      const old = first.folder;
      await pushByPut(first, makePath());
      await first.stop();
      const second = await TestServer.start({ folder: old });
      await pushByPut(second, makePath());
      await second.stop();
      server = await TestServer.start({ folder: old, args: ['--objects-group', String(GID)] });
      assert.deepEqual(await modesOfObjects(), { folders: [`${GID},750`], files: [`${GID},640`] });
      await server.stop();
      await rm(old, { recursive: true, force: true });
    },
  );

  (isRoot ? it : it.skip)('is told in the log where it finds no way', async () => {
    const closed = path.join(folder, 'closed');
    await mkdir(path.join(closed, 'disk'), { recursive: true, mode: 0o700 });
    server = await TestServer.start({
      manifest: manifest(path.join(closed, 'disk')),
      args: ['--objects-group', String(GID)],
    });
    const said = new RegExp(`--objects-group finds no way to ${closed}/disk: ${closed} is closed to it`);
    await until('it is said', () => said.test(server?.output ?? ''));
  });

  it('must be one', async () => {
    await mkdir(root(), { mode: 0o700 });
    await assert.rejects(start('--objects-group', 'no-such-group'), /there is no such group in \/etc\/group/);
  });
});
