import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makePath, type TestPath } from '../support/nars.ts';
import { LISTING } from '../support/nix-path.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';

const PUSH = '  - {name: push, permissions: [Write]}\n';
const spec = (more = '', tokens = PUSH) => `${more}storages:\n  - {name: disk, local: {}}\ntokens:\n${tokens}`;

describe('a manifest that changes while the server runs', () => {
  let server: TestServer;
  let published: TestPath;
  beforeEach(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', spec()) });
    published = makePath();
    await pushByPut(server, published);
  });
  afterEach(() => server.remove());

  /** Writes the manifest as editors do, in one step, and waits for the server's word on it. */
  async function edit(text: string, word = 'the changed manifests are applied'): Promise<void> {
    const seen = server.output.length;
    await server.writeManifest(text);
    await until(word, () => server.output.includes(word, seen));
  }
  const verbose = async () => (await fetch(`${server.adminUrl}/readyz?verbose`)).text();

  it('adds a cache and takes it away again', async () => {
    const two = `${cacheManifest('main', spec())}---\n${cacheManifest('other', spec())}`;
    await edit(two);
    const it1 = makePath();
    await pushByPut(server, it1, { cache: 'other' });
    assert.ok(await isServed(server, it1, 'other'));
    assert.equal(await isServed(server, it1, 'main'), false);
    await edit(cacheManifest('main', spec()));
    assert.equal((await fetch(server.api('other'))).status, 401);
    await edit(two);
    assert.ok(await isServed(server, it1, 'other'), 'its folder stayed');
  });

  it('lets a download finish from a cache that disappears', async () => {
    await edit(`${cacheManifest('main', spec())}---\n${cacheManifest('other', spec())}`);
    const big = makePath({ contents: randomBytes(40 * 2 ** 20), compression: 'none' });
    await pushByPut(server, big, { cache: 'other' });
    const response = await fetch(`${server.api('other')}/${big.narUrl}`);
    const reader = response.body?.getReader();
    assert.ok(reader !== undefined);
    let bytes = (await reader.read()).value?.length ?? 0;
    await edit(cacheManifest('main', spec()));
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) bytes += piece.value.length;
    assert.equal(bytes, big.file.length);
  });

  it('changes who may read', async () => {
    const narinfo = (headers = {}) => fetch(`${server.url}/${published.hashPart}.narinfo`, { headers });
    await edit(cacheManifest('main', spec('access: Private\n')));
    assert.equal((await narinfo()).status, 404);
    assert.equal((await narinfo(await server.auth())).status, 200);
    await edit(cacheManifest('main', spec('access: Public\n')));
    assert.equal((await narinfo()).status, 200);
  });

  it('changes tokens: one that is no longer listed does not exist', async () => {
    const headers = await server.auth('push');
    await edit(cacheManifest('main', spec('', '  - {name: next, permissions: [Write]}\n')));
    const put = (auth: Record<string, string>) =>
      fetch(`${server.url}/push/${published.hashPart}.ls`, { method: 'PUT', headers: auth, body: LISTING });
    assert.equal((await put(headers)).status, 401);
    assert.equal((await put(await server.auth('next'))).status, 200);
  });

  it('changes the priority', async () => {
    await edit(cacheManifest('main', spec('priority: 30\n')));
    assert.match(await (await fetch(`${server.url}/nix-cache-info`)).text(), /^Priority: 30$/m);
  });

  it('changes limits', async () => {
    await edit(cacheManifest('main', spec('limits: {maxNarSize: 1Ki}\n')));
    await assert.rejects(pushByPut(server, makePath({ contents: randomBytes(5000) })), { status: 413 });
    await edit(cacheManifest('main', spec('limits: {maxNarSize: 1Gi}\n')));
    await pushByPut(server, makePath({ contents: randomBytes(5000) }));
  });

  it('changes the order of storages', async () => {
    const order = (...names: readonly string[]) =>
      cacheManifest(
        'main',
        `storages:\n${names.map((name) => `  - {name: ${name}, local: {}}\n`).join('')}tokens:\n${PUSH}`,
      );
    await edit(order('new', 'disk'));
    await pushByPut(server, makePath());
    const used = async () => {
      const { caches } = (await (await fetch(`${server.adminUrl}/status`)).json()) as {
        caches: { storages: { name: string; usedBytes: number }[] }[];
      };
      return new Map(caches[0]?.storages.map((it) => [it.name, it.usedBytes]));
    };
    const before = await used();
    assert.ok((before.get('new') ?? 0) > 0);
    await edit(order('disk', 'new'));
    await pushByPut(server, makePath());
    assert.equal((await used()).get('new'), before.get('new'));
  });

  it('drops no request, however often it changes', async () => {
    let done = false;
    let answers = 0;
    const readers = Array.from({ length: 8 }, async () => {
      while (!done) {
        assert.ok(await isServed(server, published));
        answers++;
      }
    });
    const pushers = Array.from({ length: 2 }, async () => {
      while (!done) await pushByPut(server, makePath());
    });
    for (let turn = 0; turn < 10; turn++) {
      const main = cacheManifest('main', spec(`priority: ${turn + 1}\n`));
      await edit(turn % 2 === 0 ? `${main}---\n${cacheManifest(`other${turn}`, spec())}` : main);
    }
    done = true;
    await Promise.all([...readers, ...pushers]);
    assert.ok(answers > 0);
  });

  const mistakes: readonly (readonly [string, string, RegExp])[] = [
    ['is no YAML', 'a: [', /cache\.yaml/],
    ['has an unknown field', cacheManifest('main', spec('acess: Private\n')), /acess.*access/],
    ['has no cache', '', /no BinaryCache/],
    ['names a Secret that is not there', cacheManifest('main', spec('rootSecretRef: {name: s, key: k}\n')), /Secret/i],
  ];
  for (const [what, text, reason] of mistakes) {
    it(`is not applied while it ${what}; the last good state stays and the reason is shown`, async () => {
      await edit(text, 'the last good ones stay');
      assert.match(await verbose(), /^\[!\] configuration: /m);
      assert.match(await verbose(), reason);
      assert.equal((await fetch(`${server.adminUrl}/readyz`)).status, 200);
      assert.ok(await isServed(server, published));
      await pushByPut(server, makePath());
      await edit(cacheManifest('main', spec('priority: 7\n')));
      assert.match(await verbose(), /^\[\+\] configuration: loaded$/m);
      assert.match(await (await fetch(`${server.url}/nix-cache-info`)).text(), /^Priority: 7$/m);
    });
  }

  it('may be away for a moment', async () => {
    await rename(server.manifestFile, `${server.manifestFile}.away`);
    await until('the server misses it', async () => /\[!\] configuration: /.test(await verbose()));
    await rename(`${server.manifestFile}.away`, server.manifestFile);
    await until('the server has it back', async () => /\[\+\] configuration: loaded/.test(await verbose()));
    await rm(`${server.manifestFile}.away`, { force: true });
  });

  it('is tried again by itself where it could not be applied', async () => {
    const place = path.join(server.folder, 'place');
    await writeFile(place, 'no folder');
    const disks = `storages:\n  - {name: disk, local: {}}\n  - {name: other, local: {path: ${place}/other}}\ntokens:\n${PUSH}`;
    await edit(cacheManifest('main', disks), 'the last good ones stay');
    assert.match(await verbose(), /\[!\] configuration: .*storage other/);
    await rm(place);
    await until('it runs', async () => /\[\+\] configuration: loaded/.test(await verbose()));
    assert.match(await verbose(), /\[\+\] cache main storage other/);
  });

  it('is applied in whole or not at all', async () => {
    const headers = await server.auth();
    const broken = cacheManifest('other', `storages:\n  - {name: disk, local: {path: /dev/null/x}}\n`);
    const main = cacheManifest(
      'main',
      spec('access: Private\npriority: 9\n', '  - {name: next, permissions: [Write]}\n'),
    );
    await edit(`${main}---\n${broken}`, 'the last good ones stay');
    assert.match(await (await fetch(`${server.url}/nix-cache-info`)).text(), /^Priority: 41$/m);
    assert.ok(await isServed(server, published));
    const put = await fetch(`${server.url}/push/${published.hashPart}.ls`, { method: 'PUT', headers, body: LISTING });
    assert.equal(put.status, 200);
    assert.equal((await fetch(`${server.api('other')}/nix-cache-info`, { headers })).status, 401);
  });
});
