// A file that is gone or cut short below a storage: it is told as missing everywhere, and the next push of it heals it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, readFile, rename, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import type { CacheStatus, ServerStatus } from '../../crds/index.ts';
import { CachixClient } from '../support/cachix-client.ts';
import { makePath, narInfoCreate, type TestPath } from '../support/nars.ts';
import { isServed, type Push, pushByCachix, pushByPut, Refusal } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';
import { FAST } from '../support/storages.ts';

const SMALL = 1000;
/** Beyond what is read in one call. */
const LARGE = 700_000;

describe('an object whose bytes are gone', () => {
  let server: TestServer;
  let victim: TestPath;
  let other: TestPath;
  let contents: Buffer;
  /** The same NAR in another file. */
  let again: TestPath;
  /** Another NAR under the same name. */
  let impostor: TestPath;
  const root = () => path.join(server.data, 'main', 'storages', 'disk');
  const narOf = (it: TestPath) => `${server.api()}/${it.narUrl}`;
  const status = async (url: string, method = 'GET') => {
    const answer = await fetch(url, { method });
    await answer.arrayBuffer().catch(() => {});
    return answer.status;
  };

  async function files(): Promise<string[]> {
    const objects = path.join(root(), 'objects');
    const names = await readdir(objects, { recursive: true });
    return names.filter((name) => name.includes('/')).map((name) => path.join(objects, name));
  }

  async function filesOf(it: TestPath): Promise<string[]> {
    const found: string[] = [];
    // What is not needed any more may go at this moment.
    for (const file of await files())
      if ((await readFile(file).catch(() => undefined))?.equals(it.file)) found.push(file);
    return found;
  }

  async function fileOf(it: TestPath): Promise<string> {
    const [file] = await filesOf(it);
    assert.ok(file, `no file of ${it.storePath}`);
    return file;
  }

  before(async () => {
    server = await TestServer.start({ args: FAST });
  });
  after(() => server.remove());
  // The next test finds nothing lost, whatever this one has.
  afterEach(async () => {
    await pushByPut(server, victim);
    await saysNothing();
  });

  async function start(bytes = SMALL): Promise<void> {
    contents = randomBytes(bytes);
    const seed = randomBytes(16).toString('hex');
    [victim, other] = [makePath({ contents, seed }), makePath()];
    [again, impostor] = [makePath({ contents, seed, otherwise: true }), makePath({ seed })];
    await pushByPut(server, victim);
    await pushByPut(server, other);
  }

  async function restart(): Promise<void> {
    await server.stop();
    await server.restart();
  }

  async function statusOf(): Promise<CacheStatus> {
    const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as ServerStatus;
    assert.ok(caches[0]);
    return caches[0];
  }

  async function missing(): Promise<string[]> {
    const client = new CachixClient({ host: server.url, cache: 'main', token: await server.token() });
    return client.missing([victim.hashPart, other.hashPart]).finally(() => client.close());
  }

  async function saysLost(): Promise<void> {
    assert.equal(await status(narOf(victim)), 404);
    assert.equal(await status(narOf(victim), 'HEAD'), 404);
    assert.equal(await status(`${server.api()}/push/${victim.narUrl}`, 'HEAD'), 404);
    for (const prefix of ['', '/push'])
      for (const method of ['GET', 'HEAD'])
        assert.equal(await status(`${server.api()}${prefix}/${victim.hashPart}.narinfo`, method), 404);
    assert.deepEqual(await missing(), [victim.hashPart]);
    assert.ok(await isServed(server, other));
    const verbose = await (await fetch(`${server.adminUrl}/readyz?verbose`)).text();
    assert.match(verbose, /^\[!\] cache main objects: 1 is lost \(storage disk: 1\); .*check --repair/m);
    assert.match(verbose, /^ready$/m);
    const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
    assert.match(metrics, /^narwhal_lost_objects\{cache="main",storage="disk"\} 1$/m);
  }

  async function saysNothing(): Promise<void> {
    assert.ok(await isServed(server, victim));
    assert.deepEqual(await missing(), []);
    const verbose = await (await fetch(`${server.adminUrl}/readyz?verbose`)).text();
    assert.match(verbose, /^\[\+\] cache main objects: none is lost$/m);
  }

  const faults: Readonly<Record<string, (file: string) => Promise<void>>> = {
    removed: (file) => rm(file),
    'cut short': (file) => truncate(file, 400),
    empty: (file) => truncate(file, 0),
  };
  for (const [what, damage] of Object.entries(faults)) {
    for (const bytes of [SMALL, LARGE]) {
      it(`is lost once a read finds its file of ${bytes} bytes ${what}, and a push heals it`, async () => {
        await start(bytes);
        const file = await fileOf(victim);
        await damage(file);
        await saysLost();
        await pushByPut(server, victim);
        await saysNothing();
        await until('what was left of the old file is gone', async () => !(await files()).includes(file));
      });
    }
  }

  it('is found by HEAD too, which is all that a pusher asks', async () => {
    await start();
    await rm(await fileOf(victim));
    assert.equal(await status(`${server.api()}/push/${victim.narUrl}`, 'HEAD'), 404);
    await saysLost();
  });

  it('is found by a PUT of the same NAR, whose bytes are taken', async () => {
    await start();
    await rm(await fileOf(victim));
    await pushByPut(server, victim);
    await saysNothing();
  });

  for (const [how, push] of Object.entries({ 'a plain PUT': pushByPut, 'the Cachix protocol': pushByCachix }))
    it(`is found by ${how} of another path with the same NAR, whose bytes are taken`, async () => {
      await start();
      const twin = makePath({ contents });
      await rm(await fileOf(victim));
      await push(server, twin);
      assert.ok(await isServed(server, twin));
      await saysNothing();
      // Pushed again by whoever did not ask whether it is there.
      await rm(await fileOf(victim));
      await push(server, victim);
      await saysNothing();
    });

  it('stays lost over a restart', async () => {
    await start();
    const paths = (await statusOf()).paths;
    await rm(await fileOf(victim));
    await saysLost();
    await restart();
    await saysLost();
    const said = await statusOf();
    assert.equal(said.lostObjects, 1);
    assert.equal(said.storages[0]?.lostObjects, 1);
    await until('the set of paths is loaded', async () => {
      const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
      return metrics.includes(`narwhal_paths{cache="main"} ${paths - 1}\n`);
    });
  });

  const pushes: Readonly<Record<string, Push>> = { 'a plain PUT': pushByPut, 'the Cachix protocol': pushByCachix };
  for (const [how, push] of Object.entries(pushes)) {
    it(`is healed by ${how} under the URL that it had`, async () => {
      await start();
      const before = await (await fetch(`${server.api()}/${victim.hashPart}.narinfo`)).text();
      await rm(await fileOf(victim));
      await saysLost();
      await push(server, victim);
      await saysNothing();
      assert.equal(await (await fetch(`${server.api()}/${victim.hashPart}.narinfo`)).text(), before);
    });

    it(`is healed by ${how} of the same NAR in another compression, with all paths that it was of`, async () => {
      await start();
      const twin = makePath({ contents });
      await pushByPut(server, twin);
      await rm(await fileOf(victim));
      await saysLost();
      assert.notEqual(again.fileHash, victim.fileHash);
      await push(server, again);
      for (const it of [again, { ...twin, fileHash: again.fileHash }]) assert.ok(await isServed(server, it));
      assert.equal(await status(narOf(victim)), 404);
      await restart();
      victim = again;
      for (const it of [again, { ...twin, fileHash: again.fileHash }]) assert.ok(await isServed(server, it));
      assert.deepEqual(await missing(), []);
    });
  }

  it('is healed once, whoever pushes at the same time', async () => {
    await start(LARGE);
    await rm(await fileOf(victim));
    await saysLost();
    await Promise.all([pushByPut, pushByCachix, pushByPut, pushByCachix].map((push) => push(server, victim)));
    await saysNothing();
    await until('one file is left', async () => (await filesOf(victim)).length === 1);
  });

  it('is not replaced by other contents under its name', async () => {
    await start();
    await rm(await fileOf(victim));
    await saysLost();
    for (const push of [pushByPut, pushByCachix])
      await assert.rejects(push(server, impostor), (error) => {
        assert.ok(error instanceof Refusal);
        assert.equal(error.status, 409);
        assert.match(error.text, /lost.*check --repair/);
        return true;
      });
    await saysLost();
  });

  it('is not lost where the whole disk is away: it is unavailable, and all is there when it is back', async () => {
    await start(LARGE);
    // No look at the storage between: only the read can notice.
    await server.stop();
    await server.restart(['--storage-retry', '3600']);
    await rename(root(), `${root()}.away`);
    for (const it of [victim, other])
      for (const method of ['GET', 'HEAD']) assert.equal(await status(narOf(it), method), 503);
    assert.deepEqual(await missing(), []);
    await rename(`${root()}.away`, root());
    await restart();
    await saysNothing();
    assert.ok(await isServed(server, other));
  });

  it('is not lost where only the marker is gone', async () => {
    await start();
    const [marker, file] = [path.join(root(), '.narwhal'), await fileOf(victim)];
    await rename(marker, `${marker}.away`);
    await rename(file, `${file}.away`);
    assert.equal(await status(narOf(victim)), 503);
    await rename(`${marker}.away`, marker);
    await rename(`${file}.away`, file);
    await until('it is served again', async () => (await status(narOf(victim))) === 200);
    await saysNothing();
  });

  it('may be a log, which is simply pushed again', async () => {
    await start();
    const name = `log/${victim.hashPart}-test.drv`;
    const url = `${server.api()}/${name}`;
    const put = async () => {
      const init = { method: 'PUT', headers: await server.auth(), body: 'a log' };
      assert.equal((await fetch(`${server.api()}/push/${name}`, init)).status, 200);
    };
    await put();
    for (const file of await files()) if ((await readFile(file, 'utf8')) === 'a log') await rm(file);
    for (const method of ['GET', 'HEAD', 'GET']) assert.equal(await status(url, method), 404);
    await put();
    assert.equal(await (await fetch(url)).text(), 'a log');
    await saysNothing();
  });

  it('may be a NAR that waits for its narinfo: it is asked for again', async () => {
    await start();
    victim = makePath();
    const put = async (name: string, body: string | Uint8Array<ArrayBuffer>) =>
      fetch(`${server.api()}/push/${name}`, { method: 'PUT', headers: await server.auth(), body });
    assert.equal((await put(victim.narUrl, new Uint8Array(victim.file))).status, 200);
    await rm(await fileOf(victim));
    assert.equal(await status(narOf(victim)), 404);
    const refused = await put(`${victim.hashPart}.narinfo`, victim.narinfo);
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /send the NAR before its narinfo/);
    await pushByPut(server, victim);
    await saysNothing();
  });

  it('breaks off a download whose file ends before its time, rather than pretend that it is whole', async () => {
    await start(30_000_000);
    const file = await fileOf(victim);
    const answer = await fetch(narOf(victim));
    assert.equal(answer.status, 200);
    const reader = answer.body?.getReader();
    await reader?.read();
    await truncate(file, 1_000_000);
    await assert.rejects(async () => {
      while (!(await reader?.read())?.done);
    });
    await until('it is lost', async () => (await status(narOf(victim), 'HEAD')) === 404);
  });

  it('counts for a legacy Cachix push as well', async () => {
    await start();
    await rm(await fileOf(victim));
    await saysLost();
    const headers = await server.auth();
    const sent = await fetch(`${server.api()}/nar?compression=zst`, {
      method: 'POST',
      headers,
      body: new Uint8Array(victim.file),
    });
    assert.equal(sent.status, 200);
    const told = await fetch(`${server.api()}/${victim.hashPart}.narinfo`, {
      method: 'POST',
      headers,
      body: JSON.stringify(narInfoCreate(victim)),
    });
    assert.equal(told.status, 200);
    await saysNothing();
  });
});
