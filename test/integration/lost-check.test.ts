// `narwhal-server check` beside a server that runs, with SQLite: it is asked by the socket in its data folder.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import type { CacheStatus, ServerStatus } from '../../crds/index.ts';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, pushByPut } from '../support/push.ts';
import type { RunResult } from '../support/run.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';
import { applyManifest, FAST } from '../support/storages.ts';

describe('narwhal-server check while the server runs', () => {
  let server: TestServer;
  let victim: TestPath;
  let other: TestPath;
  let file: string;
  const root = () => path.join(server.data, 'main', 'storages', 'disk', 'objects');
  const check = (...args: readonly string[]): Promise<RunResult> =>
    runCli(['check', '-f', server.manifestFile, '--data', server.data, ...args]);
  const status = async (): Promise<CacheStatus> => {
    const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as ServerStatus;
    assert.ok(caches[0]);
    return caches[0];
  };
  const manifest = (scrub = '') => cacheManifest('main', `${standardSpec}${scrub}`);

  before(async () => {
    server = await TestServer.start({ args: FAST, manifest: manifest() });
  });
  after(() => server.remove());
  beforeEach(async () => {
    [victim, other] = [makePath({ contents: randomBytes(5000) }), makePath()];
    await pushByPut(server, victim);
    await pushByPut(server, other);
    file = '';
    for (const name of await readdir(root(), { recursive: true })) {
      const bytes = await readFile(path.join(root(), name)).catch(() => undefined);
      if (bytes?.equals(victim.file)) file = path.join(root(), name);
    }
    assert.notEqual(file, '');
  });

  it('is asked by a socket that nobody else may open', async () => {
    const socket = path.join(server.data, 'control.sock');
    assert.equal((await stat(socket)).mode & 0o777, 0o600);
    const { code, stdout, stderr } = await check('--contents');
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^main: \d+ objects, \d+ bytes, 0 findings\n$/);
    assert.match(stderr, /^main \d+\/\d+$/m);
    assert.equal((await fetch(`${server.adminUrl}/check`, { method: 'POST' })).status, 404);
  });

  it('finds what is lost and changes nothing, and gives it up when asked to repair', async () => {
    await rm(file);
    const line = `main: disk: ${victim.narUrl} has a row but no bytes; paths: ${victim.hashPart}`;
    for (let look = 0; look < 2; look++) {
      const found = await check();
      assert.equal(found.code, 1);
      assert.ok(found.stdout.startsWith(`${line}\n`), found.stdout);
    }
    assert.equal((await status()).lostObjects, 0);
    const repaired = await check('--repair');
    assert.equal(repaired.code, 0, repaired.stderr);
    assert.ok(repaired.stdout.startsWith(`${line}; unpublished, push it again\n`), repaired.stdout);
    assert.equal((await status()).lostObjects, 0);
    assert.equal(await isServed(server, victim), false);
    assert.equal((await check('--contents')).code, 0);
    await pushByPut(server, victim);
    assert.ok(await isServed(server, victim));
  });

  it('gives up what a read has found lost, so that its name is free for other contents', async () => {
    await rm(file);
    assert.equal((await fetch(`${server.api()}/${victim.narUrl}`)).status, 404);
    assert.equal((await status()).lostObjects, 1);
    assert.equal((await check()).code, 1);
    assert.equal((await check('--repair')).code, 0);
    assert.equal((await status()).lostObjects, 0);
    await pushByPut(server, victim);
    assert.ok(await isServed(server, victim));
  });

  it('serves again what was lost and is there again, once it is asked to repair', async () => {
    await rename(file, `${file}.away`);
    assert.equal((await fetch(`${server.api()}/${victim.narUrl}`)).status, 404);
    await rename(`${file}.away`, file);
    assert.equal(await isServed(server, victim), false, 'the row decides, not a look at each read');
    const found = await check();
    assert.equal(found.code, 1);
    assert.match(found.stdout, new RegExp(`${victim.narUrl} was lost and is there again; paths: ${victim.hashPart}\n`));
    const { code, stdout } = await check('--repair');
    assert.equal(code, 0);
    assert.match(stdout, /; served again\n/);
    assert.ok(await isServed(server, victim));
  });

  it('does not take other bytes for those that were lost', async () => {
    await rename(file, `${file}.away`);
    assert.equal((await fetch(`${server.api()}/${victim.narUrl}`)).status, 404);
    await writeFile(file, randomBytes(victim.file.length));
    await rm(`${file}.away`);
    const { code, stdout } = await check();
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`${victim.narUrl} has other bytes than its row says`));
    assert.equal((await check('--repair')).code, 0);
    assert.equal(await isServed(server, victim), false);
  });

  it('leaves a young file without a row alone: it may be about to get one', async () => {
    const [young, old] = [path.join(path.dirname(file), 'young'), path.join(path.dirname(file), 'old')];
    for (const stray of [young, old]) await writeFile(stray, 'x');
    const dayAgo = Date.now() / 1000 - 25 * 3600;
    await utimes(old, dayAgo, dayAgo);
    const { code, stdout } = await check('--repair');
    assert.equal(code, 0);
    assert.match(stdout, /old is a file without a row; removed\n/);
    assert.doesNotMatch(stdout, /young/);
    await assert.rejects(stat(old));
    await stat(young);
    await rm(young);
  });

  it('is not hurt by requests that make no sense', async () => {
    const socketPath = path.join(server.data, 'control.sock');
    for (const [method, url] of [
      ['POST', '//'],
      ['POST', '/check?rate=x&cache=%ff'],
      ['GET', '/check'],
      ['OPTIONS', '*'],
    ] as const) {
      await new Promise<void>((resolve) => {
        const asked = request({ socketPath, method, path: url }, (answer) => answer.resume().once('close', resolve));
        asked.once('error', () => resolve()).end();
      });
    }
    assert.equal((await check()).code, 0);
  });

  it('ends with an error where the server has no such cache', async () => {
    const { code, stderr } = await check('--cache', 'nosuch');
    assert.equal(code, 1);
    assert.match(stderr, /^narwhal-server: the server that runs has no cache nosuch$/m);
  });

  it('goes by itself where the server has died and left its socket', async () => {
    await server.stop('SIGKILL');
    await stat(path.join(server.data, 'control.sock'));
    assert.equal((await check()).code, 0);
    await server.restart();
    const { code, stderr } = await check();
    assert.equal(code, 0, stderr);
    assert.ok(await isServed(server, victim));
  });

  it('is not needed where the manifest asks for a scrub: that finds a loss that nobody has read', async () => {
    const bad = other;
    await rm(file);
    for (const name of await readdir(root(), { recursive: true })) {
      const bytes = await readFile(path.join(root(), name)).catch(() => undefined);
      if (bytes?.equals(bad.file)) await writeFile(path.join(root(), name), randomBytes(bad.file.length));
    }
    await applyManifest(server, manifest('scrub: {every: 30d, rate: 100Mi}\n'));
    await until('both are found', async () => (await status()).lostObjects === 2);
    for (const it of [victim, bad]) assert.equal(await isServed(server, it), false);
    await until('both looks have ended', async () => {
      const { scrubs } = await status();
      return scrubs.length === 2 && scrubs.every((scrub) => scrub.endedAt !== null);
    });
    const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    for (const depth of ['sizes', 'contents'])
      assert.match(
        metrics,
        new RegExp(`^narwhal_scrub_ended_timestamp_seconds\\{cache="main",depth="${depth}"\\} 1[0-9]{9}`, 'm'),
      );
    const { scrubs } = await status();
    // It is remembered over a restart, and not done again at once.
    await server.stop();
    await server.restart();
    await pushByPut(server, victim);
    await pushByPut(server, bad);
    assert.equal((await status()).lostObjects, 0);
    assert.deepEqual((await status()).scrubs, scrubs);
    await applyManifest(server, manifest());
  });
});
