// A path that is signed by more keys than anybody asked for.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fingerprint, generateSecretKey, parseHash, parseSecretKey } from '../../server/nix/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const LIMIT = 64 * 1024;
/** Well-formed, by keys that nobody has. */
const unknown = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}:${randomBytes(64).toString('base64')}`);
const namesIn = (text: string) => [...text.matchAll(/^Sig: ([^:]+):/gm)].map((match) => match[1]);

async function putNarinfo(server: TestServer, narinfo: string, signatures: readonly string[]) {
  const hashPart = /\/nix\/store\/([a-z0-9]{32})-/.exec(narinfo)?.[1];
  const body = narinfo + signatures.map((signature) => `Sig: ${signature}\n`).join('');
  return send(server.url, `/push/${hashPart}.narinfo`, { method: 'PUT', headers: await server.auth(), body });
}

async function putNar(server: TestServer, it: TestPath): Promise<void> {
  const init = { method: 'PUT', headers: await server.auth(), body: it.file };
  assert.equal((await send(server.url, `/push/${it.narUrl}`, init)).status, 200);
}

describe('a path that is pushed with many signatures', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('keeps as many as a client can send back, the old before the new, and its own always', async () => {
    const it = makePath();
    await putNar(server, it);
    const first = await putNarinfo(server, it.narinfo, unknown(300, 'first'));
    assert.deepEqual([first.status, first.text], [200, '']);
    for (let push = 0; push < 6; push++) {
      const { status, text } = await putNarinfo(server, it.narinfo, unknown(500, `later${push}`));
      assert.equal(status, 200);
      assert.match(
        text,
        /^published; \d+ signatures by keys that this cache does not know found no room: later[ -~]+\n$/,
      );
    }
    const { text } = await send(server.url, `/${it.hashPart}.narinfo`);
    assert.ok(text.length < LIMIT - 1000, `${text.length}`);
    const names = namesIn(text);
    assert.equal(names.filter((name) => name?.startsWith('first-')).length, 300);
    assert.equal(names.filter((name) => name?.startsWith('main.')).length, 1);
    // What a client does that adds one: all of it goes back.
    assert.equal((await putNarinfo(server, text, unknown(1, 'one-more'))).status, 200);
  });

  it('keeps no more of a first push, and says which keys it left out', async () => {
    const it = makePath();
    await putNar(server, it);
    const { status, text } = await putNarinfo(server, it.narinfo, unknown(600, 'k'));
    assert.equal(status, 200);
    assert.match(text, /^published; \d+ signatures by keys .* found no room: k-\d+, .*, \.\.\.\n$/);
    const { body } = await send(server.url, `/${it.hashPart}.narinfo`);
    assert.ok(body.length < LIMIT - 1000);
  });
});

describe('a self-signed cache', () => {
  let server: TestServer;
  const keys = [1, 2].map(() => parseSecretKey(generateSecretKey('team-1')));
  before(async () => {
    const publicKeys = keys.map((key) => key.publicKey).join(', ');
    const spec = `signing:\n  mode: SelfSigned\n  publicKeys: [${publicKeys}]\nlimits: {maxRegisteredKeys: 2}\n${standardSpec}`;
    server = await TestServer.start({ manifest: cacheManifest('main', spec) });
  });
  after(() => server.remove());

  it('keeps the signature of each of its keys, however many others there are', async () => {
    const it = makePath();
    const text = fingerprint({
      storePath: it.storePath,
      narHash: parseHash(it.narHash),
      narSize: it.nar.length,
      references: [],
    });
    await putNar(server, it);
    const [first = '', second = ''] = keys.map((key) => key.sign(text));
    assert.equal((await putNarinfo(server, it.narinfo, [...unknown(500, 'x'), first])).status, 200);
    assert.equal((await putNarinfo(server, it.narinfo, [...unknown(500, 'y'), second])).status, 200);
    const narinfo = (await send(server.url, `/${it.hashPart}.narinfo`)).text;
    for (const signature of [first, second]) assert.ok(narinfo.includes(`Sig: ${signature}\n`));
    assert.ok(narinfo.length < LIMIT);
  });

  it('takes so many keys of clients and no more, and each of them again', async () => {
    const register = async (publicKey: string) =>
      send(server.url, '/api/v1/cache/main/key', {
        method: 'POST',
        headers: await server.auth('admin'),
        body: JSON.stringify({ publicKey }),
      });
    const [one, two, three] = [1, 2, 3].map(() => {
      const { publicKey } = parseSecretKey(generateSecretKey('k'));
      return publicKey.slice(publicKey.indexOf(':') + 1);
    });
    for (const key of [one, two, one]) assert.equal((await register(key ?? '')).status, 200);
    const { status, text } = await register(three ?? '');
    assert.equal(status, 409);
    assert.match(text, /^this cache has 2 registered keys, and takes no more; .* spec\.limits\.maxRegisteredKeys\n$/);
    assert.equal((await register(two ?? '')).status, 200);
  });
});

await describeEachNix('nix store sign', (nix) => {
  let server: TestServer;
  let dir: string;
  let client: NixClient;
  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'narwhal-sign-'));
    server = await TestServer.start();
    client = new NixClient({ version: nix, dir: path.join(dir, 'nix') });
  });
  after(async () => {
    await server.remove();
    await client.remove();
    await rm(dir, { recursive: true, force: true });
  });

  it('goes on working on a path that others have filled with signatures', async () => {
    const netrc = path.join(dir, 'netrc');
    await writeFile(netrc, `machine 127.0.0.1 login x password ${await server.token()}\n`);
    const pushUrl = `${server.api()}/push`;
    const storePath = await client.addTree('signed', `${nix.label}\n`);
    await client.copyTo(pushUrl, [storePath], { netrc });
    const hashPart = path.basename(storePath).slice(0, 32);
    const read = async () => (await send(server.api(), `/${hashPart}.narinfo`)).text;
    const sign = async (name: string) => {
      const { secretFile } = await client.generateKey(name);
      const store = ['--store', pushUrl, '--option', 'netrc-file', netrc];
      await client.must(['nix', 'store', 'sign', ...store, '--refresh', '--key-file', secretFile, storePath]);
    };
    await sign('before-1');
    for (let push = 0; push < 6; push++)
      assert.equal((await putNarinfo(server, await read(), unknown(100, `x${push}`))).status, 200);
    await sign('after-1');
    const names = namesIn(await read());
    assert.ok(names.includes('before-1'));
    assert.ok(names.some((name) => name?.startsWith('main.')));
  });
});
