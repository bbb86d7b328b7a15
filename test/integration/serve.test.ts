import assert from 'node:assert/strict';
import { makePath, narInfoCreate } from '../support/nars.ts';
import { TestServer } from '../support/server.ts';

describe('a server started with a manifest', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('serves nix-cache-info to anybody', async () => {
    const response = await fetch(`${server.url}/nix-cache-info`);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), 'StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 41\n');
  });

  it('publishes a path that is PUT as nix does, and serves it again after a restart', async () => {
    const path = makePath({ name: 'hello-2.12' });
    const headers = await server.auth();
    const nar = await fetch(`${server.url}/push/${path.narUrl}`, { method: 'PUT', headers, body: path.file });
    assert.equal(nar.status, 200, await nar.text());
    const narinfo = await fetch(`${server.url}/push/${path.hashPart}.narinfo`, {
      method: 'PUT',
      headers,
      body: path.narinfo,
    });
    assert.equal(narinfo.status, 200, await narinfo.text());
    const text = await (await fetch(`${server.url}/${path.hashPart}.narinfo`)).text();
    assert.ok(text.startsWith(path.narinfo), text);
    assert.match(text, /\nSig: main\.localhost-1:[A-Za-z0-9+/]{86}==\n$/);
    assert.equal(await server.stop(), 0);
    await server.restart();
    assert.equal(await (await fetch(`${server.url}/${path.hashPart}.narinfo`)).text(), text);
    const bytes = Buffer.from(await (await fetch(`${server.url}/${path.narUrl}`)).arrayBuffer());
    assert.deepEqual(bytes, path.file);
  });

  it('refuses claims that the bytes do not bear out', async () => {
    const path = makePath();
    const claim = { ...narInfoCreate(path), cNarSize: path.nar.length + 8 };
    assert.notEqual(claim.cNarSize, path.nar.length);
    const headers = await server.auth();
    await fetch(`${server.url}/push/${path.narUrl}`, { method: 'PUT', headers, body: path.file });
    const lie = path.narinfo.replace(/NarSize: \d+/, `NarSize: ${claim.cNarSize}`);
    const response = await fetch(`${server.url}/push/${path.hashPart}.narinfo`, { method: 'PUT', headers, body: lie });
    assert.equal(response.status, 400);
    assert.match(await response.text(), /^NarSize: the narinfo says \d+, the NAR has \d+\n$/);
  });
});
