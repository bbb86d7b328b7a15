import assert from 'node:assert/strict';
import { appendFile, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { runCli } from '../support/cli.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, pushByPut } from '../support/push.ts';
import type { RunResult } from '../support/run.ts';
import { cacheManifest, TestServer } from '../support/server.ts';

describe('narwhal-server check', () => {
  let server: TestServer;
  let victim: TestPath;
  let file: string;
  let other: TestPath;
  const objects = () => path.join(server.data, 'main', 'storages', 'disk', 'objects');
  const check = (...args: readonly string[]): Promise<RunResult> =>
    runCli(['check', '-f', server.manifestFile, '--data', server.data, ...args]);
  const files = async () => (await readdir(objects(), { recursive: true })).filter((name) => name.includes('/'));

  beforeEach(async () => {
    server = await TestServer.start();
    [victim, other] = [makePath(), makePath()];
    await pushByPut(server, victim);
    file = path.join(objects(), (await files())[0] ?? '');
    await pushByPut(server, other);
  });
  afterEach(() => server.remove());

  it('refuses where a server runs that cannot be asked', async () => {
    await rm(path.join(server.data, 'control.sock'));
    const { code, stderr } = await check();
    assert.equal(code, 1);
    assert.match(stderr, /^narwhal-server: cache main: \S+ is in use by another narwhal-server; stop it first/);
  });

  it('finds nothing wrong with what a server left', async () => {
    await server.stop();
    const { code, stdout } = await check('--contents');
    assert.equal(code, 0);
    assert.match(stdout, /^main: 2 objects, \d+ bytes, 0 findings\n$/);
  });

  /** Found without a change, then repaired: the path is gone, the other one stays, and it can be pushed again. */
  async function findsAndRepairs(meaning: string, ...args: readonly string[]): Promise<void> {
    const line = `main: disk: ${victim.narUrl} ${meaning}; paths: ${victim.hashPart}\n`;
    for (let look = 0; look < 2; look++) {
      const found = await check(...args);
      assert.equal(found.code, 1);
      assert.ok(found.stdout.startsWith(line), found.stdout);
      assert.match(found.stdout, /, 1 findings\n$/);
    }
    const repaired = await check('--repair', ...args);
    assert.equal(repaired.code, 0);
    assert.match(repaired.stdout, /, 1 findings, 1 repaired\n$/);
    assert.equal((await check('--contents')).code, 0);
    await server.restart();
    assert.equal(await isServed(server, victim), false);
    assert.ok(await isServed(server, other));
    await pushByPut(server, victim);
    assert.ok(await isServed(server, victim));
  }

  it('finds a row without bytes', async () => {
    await server.stop();
    await rm(file);
    await findsAndRepairs('has a row but no bytes');
  });

  it('finds bytes of another size', async () => {
    await server.stop();
    await appendFile(file, 'x');
    await findsAndRepairs('has another size than its row says');
  });

  it('finds a flipped bit, when asked to read', async () => {
    await server.stop();
    const bytes = await readFile(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(file, bytes);
    assert.equal((await check()).code, 0);
    await findsAndRepairs('has other bytes than its row says', '--contents');
  });

  it('finds a file without a row, and removes it only when asked to', async () => {
    await server.stop();
    const stray = path.join(path.dirname(file), 'stray');
    await writeFile(stray, 'x');
    for (let look = 0; look < 2; look++) {
      const found = await check();
      assert.equal(found.code, 1);
      assert.match(found.stdout, /^main: disk: \d{10}\/stray is a file without a row\n/);
    }
    assert.equal((await check('--repair')).code, 0);
    assert.equal((await files()).length, 2);
    assert.equal((await check()).code, 0);
  });

  it('repairs nothing in a storage that is not there', async () => {
    await server.stop();
    await rm(path.join(server.data, 'main', 'storages', 'disk', '.narwhal'));
    const { code, stdout } = await check('--repair');
    assert.equal(code, 1);
    assert.match(stdout, /storage is not available; nothing in it was checked/);
    assert.equal((await files()).length, 2);
  });

  it('looks at one cache when asked to', async () => {
    await server.stop();
    const spec = 'storages:\n  - {name: disk, local: {}}\n';
    await writeFile(server.manifestFile, `${cacheManifest('main', spec)}---\n${cacheManifest('second', spec)}`);
    const { stdout } = await check('--cache', 'main');
    assert.match(stdout, /^main: 2 objects/);
    assert.doesNotMatch(stdout, /second/);
  });
});
