import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { hashToken } from '../../crds/index.ts';
import { makePath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, TestServer, until } from '../support/server.ts';

const API = '/api/v1/cache/main';
const HASH = '0'.repeat(32);
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

function manifest(tokens: readonly string[], access = 'Public'): string {
  const lines = tokens.map((token) => `  - {${token}}\n`).join('');
  return cacheManifest('main', `access: ${access}\nstorages:\n  - name: disk\n    local: {}\ntokens:\n${lines}`);
}

describe('a token that expires in use', () => {
  let server: TestServer;
  after(() => server?.remove());

  it('stops working at that second, on every route, without a change of the manifest', async () => {
    const withTokenUntil = (time: Date) =>
      manifest([`name: ci, permissions: [Write], expiresAt: "${time.toISOString()}"`], 'Private');
    server = await TestServer.start({ manifest: withTokenUntil(new Date('2100-01-01T00:00:00Z')) });
    const path = makePath();
    const headers = await server.auth('ci');
    const asks: readonly (() => Promise<Reply>)[] = [
      () => send(server.url, '/nix-cache-info', { headers }),
      () => send(server.url, `/${path.hashPart}.narinfo`, { headers }),
      () => send(server.url, `/${path.narUrl}`, { headers }),
      () => send(server.url, API, { headers }),
      () => send(server.url, `${API}/narinfo`, { method: 'POST', headers, body: '[]' }),
      () => send(server.url, `${API}/multipart-nar?compression=zst`, { method: 'POST', headers }),
      () => send(server.url, `/push/${path.narUrl}`, { method: 'PUT', headers, body: path.file }),
    ];
    const target = { url: server.url, api: () => `${server.url}${API}`, auth: () => server.auth('ci') };
    await pushByPut(target, path);
    const changes = () => server.output.split('the changed manifests are applied').length;
    let expiresAt = new Date();
    // As long as the machine takes to see it work.
    for (let lifeMs = 4000, hasWorked = false; !hasWorked; lifeMs *= 2) {
      const before = changes();
      expiresAt = new Date(Date.now() + lifeMs);
      expiresAt.setUTCMilliseconds(0);
      await server.writeManifest(withTokenUntil(expiresAt));
      await until('it is told', () => changes() > before);
      const statuses: number[] = [];
      for (const ask of asks) statuses.push((await ask()).status);
      hasWorked = Date.now() < expiresAt.getTime();
      if (hasWorked) for (const [index, status] of statuses.entries()) assert.equal(status, 200, `${index}`);
    }
    await until('it has expired', () => Date.now() >= expiresAt.getTime());
    for (const [index, ask] of asks.entries()) {
      const { status, text } = await ask();
      assert.equal(status, 401, `${index}`);
      assert.equal(text, `cache main: token ci expired on ${expiresAt.toISOString()}\n`);
    }
  });
});

describe('a token that may do nothing any more', () => {
  let server: TestServer;
  const path = makePath();
  before(async () => {
    const tokens = [
      'name: push, permissions: [Write]',
      'name: old, permissions: [Write], expiresAt: "2020-01-01T00:00:00Z"',
    ];
    server = await TestServer.start({ manifest: manifest(tokens) });
    await pushByPut(server, path);
  });
  after(() => server.remove());
  const begin = (headers: Record<string, string>) =>
    Promise.all([
      send(server.url, API, { headers }),
      send(server.url, `${API}/narinfo`, { method: 'POST', headers, body: JSON.stringify([HASH]) }),
      send(server.url, `${API}/narurl/${path.narUrl.slice(4)}`, { headers }),
    ]);

  it('is told so on a public cache where a push begins', async () => {
    for (const { status, text, headers } of await begin(await server.auth('old'))) {
      assert.equal(status, 401);
      assert.equal(text, 'cache main: token old expired on 2020-01-01T00:00:00.000Z\n');
      assert.match(headers['www-authenticate'] ?? '', /^Basic /);
    }
  });

  it('stops nothing that nix reads there', async () => {
    const files = ['/nix-cache-info', `/${path.hashPart}.narinfo`, `/%30${HASH.slice(1)}.narinfo`, `/${path.narUrl}`];
    for (const base of [server.url, `${server.url}${API}`])
      for (const file of files) {
        const { status } = await send(base, file, { headers: await server.auth('old') });
        assert.equal(status, file.startsWith('/%30') ? 404 : 200, file);
      }
  });

  it('is another thing than none, a bare Bearer, or one that nobody knows', async () => {
    const token = await server.token();
    for (const headers of [{}, { authorization: 'Bearer' }, bearer('nwl_unknown'), { authorization: `Basic ${token}` }])
      for (const { status, text } of await begin(headers)) assert.equal(status, 200, text);
  });
});

describe('a token that leaves the manifest', () => {
  let server: TestServer;
  const folder = () => path.join(server.data, 'main', 'tokens');
  const use = async (tokens: readonly string[], files: readonly string[]) => {
    await server.writeManifest(manifest(tokens));
    await until(`the files are ${files}`, async () => (await readdir(folder())).toSorted().join() === files.join());
  };
  const works = async (token: string) =>
    (await send(server.url, `${API}/key`, { method: 'POST', headers: bearer(token) })).status !== 401;
  const push = 'name: push, permissions: [Admin]';
  const other = 'name: other, permissions: [Admin]';
  beforeEach(async () => {
    server = await TestServer.start({ manifest: manifest([push, other]) });
  });
  afterEach(() => server.remove());

  it('takes its text along: listed again it is another one', async () => {
    const [old, kept] = [await server.token('push'), await server.token('other')];
    await use([other], ['other']);
    assert.equal(await works(old), false);
    await use([push, other], ['other', 'push']);
    const renewed = await server.token('push');
    assert.notEqual(renewed, old);
    await until('the new one works', () => works(renewed));
    assert.equal(await works(old), false);
    assert.equal(await server.token('other'), kept);
  });

  it('does so too when the server was stopped meanwhile', async () => {
    const old = await server.token('push');
    await server.stop();
    await server.writeManifest(manifest([other]));
    await server.restart();
    assert.deepEqual(await readdir(folder()), ['other']);
    await use([push, other], ['other', 'push']);
    assert.notEqual(await server.token('push'), old);
  });

  it('does so too when it is given by its hash instead', async () => {
    const old = await server.token('push');
    await use([`${push}, sha256: ${hashToken('given')}`, other], ['other']);
    await use([push, other], ['other', 'push']);
    assert.notEqual(await server.token('push'), old);
  });

  it('leaves alone what is no token of the cache', async () => {
    await writeFile(path.join(folder(), 'push.bak'), 'x');
    await use([other], ['other', 'push.bak']);
  });
});
