// What real nix does about a NAR that is lost: it goes on with the next substituter or builds, and its next push heals.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';
import { FAST } from '../support/storages.ts';

const MANIFEST = `${cacheManifest('main', standardSpec)}---\n${cacheManifest('second', standardSpec)}`;

await describeEachNix('a NAR that is lost', (nix) => {
  let dir: string;
  let server: TestServer;
  let pusher: NixClient;
  let netrc: string;
  let trustedKeys: string[];
  const clients: NixClient[] = [];

  before(async () => {
    dir = await fs.mkdtemp(path.join(os.tmpdir(), 'narwhal-lost-nix-'));
    server = await TestServer.start({ manifest: MANIFEST, args: FAST });
    pusher = newClient('pusher');
    netrc = path.join(dir, 'netrc');
    await fs.writeFile(netrc, `machine 127.0.0.1 login anybody password ${await server.token()}\n`, { mode: 0o600 });
    trustedKeys = [await server.publicKey(), await server.publicKey('second')];
  });
  after(async () => {
    await server.remove();
    for (const client of clients) await client.remove();
    await fs.rm(dir, { recursive: true, force: true });
  });

  function newClient(name: string): NixClient {
    const client = new NixClient({ version: nix, dir: path.join(dir, name) });
    clients.push(client);
    return client;
  }

  const expression = (name: string) =>
    `derivation { name = "${name}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo ${name} > $out" ]; }`;

  /** Removes the bytes of everything that the cache `main` holds; nobody has noticed yet. */
  async function lose(): Promise<void> {
    const objects = path.join(server.data, 'main', 'storages', 'disk', 'objects');
    for (const folder of await fs.readdir(objects))
      for (const name of await fs.readdir(path.join(objects, folder))) await fs.rm(path.join(objects, folder, name));
  }

  async function pushTo(
    cache: string,
    paths: readonly string[],
    more: readonly string[] = [],
    compression = 'zstd',
  ): Promise<void> {
    const token = await server.token('push', cache);
    await fs.writeFile(netrc, `machine 127.0.0.1 login anybody password ${token}\n`, { mode: 0o600 });
    const url = `${server.api(cache)}/push?compression=${compression}`;
    await pusher.must(['nix', 'copy', '--to', url, '--netrc-file', netrc, ...more, ...paths]);
  }

  const narinfoOf = (storePath: string) => `${server.api()}/${path.basename(storePath).slice(0, 32)}.narinfo`;
  const statusOf = async (storePath: string) => (await fetch(narinfoOf(storePath))).status;
  const marks = () => server.output.split('an object is lost').length - 1;

  it('is fetched from the next substituter, whether the cache has noticed the loss or is about to', async () => {
    const it = await pusher.addTree('wanted-1.0', randomBytes(3000));
    for (const cache of ['main', 'second']) await pushTo(cache, [it]);
    await lose();
    for (const [index, expected] of [404, 404].entries()) {
      if (index === 0) assert.equal(await statusOf(it), 200, 'nobody has noticed');
      const client = newClient(`puller-${index}`);
      const substituters = [`${server.api()}?priority=10`, `${server.api('second')}?priority=20`];
      const { code, stderr } = await client.realise([it], { substituters, trustedKeys });
      assert.equal(code, 0, stderr);
      await client.verify({ trustedKeys });
      assert.equal(await statusOf(it), expected);
    }
    assert.equal(marks(), 1);
  });

  it('is built where no other substituter has it, without --fallback', async () => {
    const text = expression(`built-${nix.label}`);
    const [it = ''] = await pusher.build(text);
    await pushTo('main', [it]);
    await lose();
    for (const name of ['builder-0', 'builder-1']) {
      const client = newClient(name);
      assert.deepEqual(await client.build(text, { substituters: [server.api()], trustedKeys }), [it]);
    }
    assert.equal(await statusOf(it), 404);
  });

  it('is pushed again by nix copy, and served under the URL that it had', async () => {
    const it = await pusher.addTree('healed-1.0', randomBytes(300_000));
    await pushTo('main', [it]);
    const narinfo = () => fetch(narinfoOf(it)).then((answer) => answer.text());
    const before = await narinfo();
    await lose();
    const url = /^URL: (.*)$/m.exec(before)?.[1] ?? '';
    assert.equal((await fetch(`${server.api()}/${url}`)).status, 404);
    await pushTo('main', [it], ['--refresh']);
    assert.equal(await narinfo(), before);
    const client = newClient('after');
    const { code, stderr } = await client.realise([it], { substituters: [server.api()], trustedKeys });
    assert.equal(code, 0, stderr);
    await client.verify({ trustedKeys });
  });

  it('is pushed again in another compression, and the path is served from there', async () => {
    const it = await pusher.addTree('recompressed-1.0', 'x'.repeat(30_000));
    await pushTo('main', [it]);
    const narinfo = () => fetch(narinfoOf(it)).then((answer) => answer.text());
    const url = /^URL: (.*)$/m.exec(await narinfo())?.[1] ?? '';
    await lose();
    assert.equal((await fetch(`${server.api()}/${url}`)).status, 404);
    await pushTo('main', [it], ['--refresh'], 'xz');
    assert.match(await narinfo(), /^Compression: xz$/m);
    const client = newClient('after-recompression');
    const { code, stderr } = await client.realise([it], { substituters: [server.api()], trustedKeys });
    assert.equal(code, 0, stderr);
  });
});
