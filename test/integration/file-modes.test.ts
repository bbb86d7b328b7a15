import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { runCli } from '../support/cli.ts';
import { Fleet } from '../support/fleet.ts';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PostgresServer } from '../support/postgres.ts';
import { completeUpload, createUpload, isServed, pushByCachix, pushByPut, sendPart } from '../support/push.ts';
import { cacheManifest, TestServer } from '../support/server.ts';

/** Every file and folder below a folder, itself included, with its mode: `0600 db.sqlite`, `0700 signing/`. */
async function modesBelow(folder: string): Promise<string[]> {
  const names = ['.', ...(await readdir(folder, { recursive: true }))].sort();
  const modes = names.map(async (name) => {
    // What was staged goes behind the answer.
    const found = await lstat(path.join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (found === undefined) return [];
    return [`${(found.mode & 0o777).toString(8).padStart(4, '0')} ${name}${found.isDirectory() ? '/' : ''}`];
  });
  return (await Promise.all(modes)).flat();
}

const without = (lines: readonly string[], ...modes: string[]) =>
  lines.filter((line) => !modes.includes(line.slice(0, 4)));

describe('files of a server', () => {
  let folder: string;
  let disk: string;
  let mask: number;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-modes-'));
    disk = path.join(folder, 'raid', 'narwhal');
    // What most machines have, whatever this one does.
    mask = process.umask(0o022);
  });
  afterEach(async () => {
    process.umask(mask);
    await rm(folder, { recursive: true, force: true });
  });

  /** A server with a storage outside of its data folder, in which there is one file of each kind. */
  async function withFiles(work: (server: TestServer) => Promise<void>, args: readonly string[] = []): Promise<void> {
    const spec = `storages:
  - {name: inside, mode: ReadOnly, local: {}}
  - {name: outside, local: {path: ${disk}}}
tokens:
  - {name: push, permissions: [Write]}
`;
    const server = await TestServer.start({ folder, manifest: cacheManifest('main', spec), args });
    try {
      await pushByPut(server, makePath());
      await pushByCachix(server, makePath({ contents: randomBytes(100_000) }), { parts: 3, order: [3, 1, 2] });
      // One that is never completed: its file, and a part that waits beside it.
      const open = await createUpload(server);
      await sendPart(open, 1, randomBytes(1000));
      await sendPart(open, 3, randomBytes(1000));
      await work(server);
    } finally {
      await server.stop();
    }
  }

  it('are readable by its user alone, those of a storage outside of the data folder too', async () => {
    await withFiles(async (server) => {
      const [data, storage] = await Promise.all([modesBelow(server.data), modesBelow(disk)]);
      for (const kind of [/\.narwhal$/, /objects\/\d+\/\S+$/, /\.staging\/\S+\.3$/, /\.staging\/[^.\s]+$/])
        assert.ok(
          storage.some((line) => kind.test(line)),
          `${kind}: ${storage.join('\n')}`,
        );
      for (const kind of [/db\.sqlite$/, /db\.sqlite-wal$/, /lock$/, /root\.key$/, /signing\/\S+$/, /tokens\/push$/])
        assert.ok(
          data.some((line) => kind.test(line)),
          `${kind}: ${data.join('\n')}`,
        );
      assert.deepEqual(without([...data, ...storage], '0600', '0700'), []);
      // The folder above did not belong to it.
      assert.match((await modesBelow(path.join(folder, 'raid')))[0] ?? '', /^0700/);
    });
  });

  it('of storages are open as far as --umask says; keys, tokens and the data folder stay closed', async () => {
    await withFiles(
      async (server) => {
        assert.deepEqual(without(await modesBelow(disk), '0640', '0750'), []);
        const data = await modesBelow(server.data);
        assert.match(data[0] ?? '', /^0700/);
        const secret = data.filter((line) => /key|signing|tokens/.test(line));
        assert.ok(secret.length >= 5, secret.join('\n'));
        assert.deepEqual(without(secret, '0600', '0700'), []);
      },
      ['--umask', '027'],
    );
  });

  it('leave folders that were there as they were', async () => {
    await mkdir(disk, { recursive: true });
    await chmod(disk, 0o755);
    await withFiles(async () => {
      const [root, ...rest] = await modesBelow(disk);
      assert.match(root ?? '', /^0755/);
      assert.deepEqual(without(rest, '0600', '0700'), []);
    });
  });

  for (const text of ['8', '0777', '700', 'rwx', '-1', '']) {
    it(`refuses --umask ${text === '' ? "''" : text}`, async () => {
      const { code, stderr } = await runCli(['serve', '-f', 'x', `--umask=${text}`]);
      assert.equal(code, 1);
      assert.match(stderr, /^error: option '--umask <mask>' argument '.*' is invalid\. expected octal digits/);
    });
  }
});

describeWith('postgres', 'files of servers that share a folder', () => {
  let postgres: PostgresServer;
  let folder: string;
  let mask: number;
  before(async () => {
    postgres = await PostgresServer.start();
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-modes-'));
    mask = process.umask(0o022);
  });
  after(async () => {
    process.umask(mask);
    await postgres.remove();
    await rm(folder, { recursive: true, force: true });
  });

  it('are of their user alone, and a part that came to one is put together by the other', async () => {
    const disk = path.join(folder, 'shared');
    const storages = [{ name: 'disk', local: { path: disk, accessMode: 'ReadWriteMany' } }];
    const fleet = await Fleet.start({ url: await postgres.createDatabase(), storages, servers: 2 });
    try {
      const [one, two] = fleet.servers;
      assert.ok(one !== undefined && two !== undefined);
      const it = makePath({ contents: randomBytes(100_000) });
      const upload = await createUpload(one);
      const etags = [await sendPart(upload, 1, it.file.subarray(0, 40_000))];
      const there = { ...upload, server: two, url: upload.url.replace(one.url, two.url) };
      etags.push(await sendPart(there, 2, it.file.subarray(40_000)));
      const before = await modesBelow(disk);
      assert.equal(before.filter((line) => /\.staging\/\S+$/.test(line)).length, 2, before.join('\n'));
      await completeUpload(there, it, etags);
      assert.ok(await isServed(one, it));
      assert.deepEqual(without([...before, ...(await modesBelow(disk))], '0600', '0700'), []);
    } finally {
      await fleet.remove();
    }
  });
});
