// An nginx in front that sends the files of local storages itself: who gets them, and that they are the same.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describeWith } from '../support/needs.ts';
import { Nginx } from '../support/nginx.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { LISTING, nixPath, push } from '../support/nix-path.ts';
import { put, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

/** Another address of this machine, so that clients that connect directly are told from it. */
const PEER = '127.0.0.77';
const ASKS = { 'x-sendfile-type': 'X-Accel-Redirect' };
const MANIFEST = [
  cacheManifest('main', standardSpec),
  cacheManifest('private', `${standardSpec}access: Private\n`),
].join('---\n');

class Scene {
  readonly server: TestServer;
  readonly nginx: Nginx;

  private constructor(server: TestServer, nginx: Nginx) {
    this.server = server;
    this.nginx = nginx;
  }

  static async start(): Promise<Scene> {
    const server = await TestServer.start({ manifest: MANIFEST, args: ['--x-accel-peers', PEER] });
    const places = { 'main/disk': objectsOf(server, 'main'), 'private/disk': objectsOf(server, 'private') };
    const nginx = await Nginx.start({ server: `127.0.0.1:${server.port}`, places, from: PEER });
    return new Scene(server, nginx);
  }

  async remove(): Promise<void> {
    await this.nginx.remove();
    await this.server.remove();
  }
}

function objectsOf(server: TestServer, cache: string): string {
  return path.join(server.data, cache, 'storages', 'disk', 'objects');
}

describeWith('nginx', 'an nginx that sends files by itself', () => {
  let scene: Scene;
  const paths = { main: nixPath({ tree: { type: 'regular', contents: randomBytes(300_000) } }), private: nixPath() };
  before(async () => {
    scene = await Scene.start();
    for (const [cache, it] of Object.entries(paths)) {
      const { server } = scene;
      const { nar, narinfo } = await push(`${server.api(cache)}/push`, it, await server.auth('push', cache));
      assert.deepEqual([nar.status, narinfo.status], [200, 200]);
    }
  });
  after(() => scene?.remove());

  const api = (cache: string) => `/api/v1/cache/${cache}`;
  const file = paths.main;
  const read = (headers: Record<string, string> = {}, method = 'GET') =>
    send(scene.nginx.url, `${api('main')}/${file.url}`, { headers, method });

  it('gives the same bytes under the same headers as the server does', async () => {
    const [byNginx, direct] = [await read(), await send(scene.server.url, `${api('main')}/${file.url}`)];
    assert.deepEqual([byNginx.status, direct.status], [200, 200]);
    assert.ok(byNginx.body.equals(file.file));
    const { sent } = await sentBytes();
    for (const name of [
      'etag',
      'content-type',
      'content-length',
      'cache-control',
      'accept-ranges',
      'x-content-type-options',
    ])
      assert.equal(byNginx.headers[name], direct.headers[name], name);
    assert.equal(byNginx.headers['x-accel-redirect'], undefined);
    // Those of the direct answer alone: nginx has read the file.
    await read();
    assert.equal((await sentBytes()).sent, sent);
  });

  async function sentBytes(): Promise<{ sent: number }> {
    const text = await (await fetch(`${scene.server.adminUrl}/metrics`)).text();
    return { sent: Number(/^narwhal_sent_bytes_total (\d+)$/m.exec(text)?.[1]) };
  }

  it('makes ranges, and knows what a client has already', async () => {
    const part = await read({ range: 'bytes=1000-1999' });
    assert.equal(part.status, 206);
    assert.equal(part.headers['content-range'], `bytes 1000-1999/${file.file.length}`);
    assert.ok(part.body.equals(file.file.subarray(1000, 2000)));
    const last = await read({ range: 'bytes=-10' });
    assert.ok(last.body.equals(file.file.subarray(-10)));
    assert.equal((await read({ range: `bytes=${file.file.length}-` })).status, 416);
    const etag = String((await read()).headers.etag);
    assert.equal((await read({ 'if-none-match': etag })).status, 304);
    // What it cannot compare it gives whole, which is always right.
    const whole = await read({ range: 'bytes=0-9', 'if-range': '"another"' });
    assert.deepEqual([whole.status, whole.body.length], [200, file.file.length]);
    // Thousands of them in one request would be an answer many times as long as the file.
    const many = await read({ range: 'bytes=0-9,20-29,0-9' });
    assert.deepEqual([many.status, many.body.length], [200, file.file.length]);
    const head = await read({}, 'HEAD');
    assert.deepEqual([head.status, head.headers['content-length']], [200, String(file.file.length)]);
  });

  it('is told nothing of what its client may not read', async () => {
    const { url } = paths.private;
    const asked = (headers: Record<string, string>) => send(scene.nginx.url, `${api('private')}/${url}`, { headers });
    assert.equal((await asked({})).status, 404);
    assert.equal((await asked({ authorization: 'Bearer nonsense' })).status, 401);
    const allowed = await asked(await scene.server.auth('read', 'private'));
    assert.equal(allowed.status, 200);
    assert.ok(allowed.body.equals(paths.private.file));
    // The place itself is nobody's to ask for.
    const [folder = ''] = await readdir(objectsOf(scene.server, 'private'));
    const [name = ''] = await readdir(path.join(objectsOf(scene.server, 'private'), folder));
    assert.equal((await send(scene.nginx.url, `/narwhal-files/private/disk/${folder}/${name}`)).status, 404);
  });

  it('is the only one that hears of places', async () => {
    const direct = (headers: Record<string, string>) =>
      send(scene.server.url, `${api('main')}/${file.url}`, { headers });
    for (const headers of [ASKS, { ...ASKS, 'x-forwarded-for': PEER }, { ...ASKS, forwarded: `for=${PEER}` }]) {
      const reply = await direct(headers);
      assert.equal(reply.headers['x-accel-redirect'], undefined);
      assert.ok(reply.body.equals(file.file));
    }
    // A program at that address which does not ask for places gets bytes.
    const plain = await send(scene.server.url, `${api('main')}/${file.url}`, { localAddress: PEER });
    assert.ok(plain.body.equals(file.file));
    const asking = await send(scene.server.url, `${api('main')}/${file.url}`, { localAddress: PEER, headers: ASKS });
    assert.match(String(asking.headers['x-accel-redirect']), /^\/narwhal-files\/main\/disk\/\d+\/[-\w]+$/);
    assert.deepEqual([asking.status, asking.headers['content-length'], asking.body.length], [200, undefined, 0]);
  });

  it('passes pushes, listings and logs on, and sends these too', async () => {
    const auth = await scene.server.auth();
    const other = nixPath();
    const { nar, narinfo } = await push(`${scene.nginx.url}${api('main')}/push`, other, auth);
    assert.deepEqual([nar.status, narinfo.status], [200, 200]);
    assert.equal(
      (await put(`${scene.nginx.url}${api('main')}/push`, `/${other.hashPart}.ls`, LISTING, auth)).status,
      200,
    );
    const listing = await send(scene.nginx.url, `${api('main')}/${other.hashPart}.ls`);
    assert.deepEqual([listing.status, listing.text], [200, LISTING]);
    assert.equal(listing.headers['content-type'], 'application/json');
  });

  it('is told that a file is gone, and so is its client', async () => {
    const lost = nixPath();
    const auth = await scene.server.auth();
    await push(`${scene.server.api()}/push`, lost, auth);
    const at = await send(scene.server.url, `${api('main')}/${lost.url}`, { localAddress: PEER, headers: ASKS });
    const place = String(at.headers['x-accel-redirect']).replace(
      '/narwhal-files/main/disk',
      objectsOf(scene.server, 'main'),
    );
    await rm(place);
    assert.equal((await send(scene.nginx.url, `${api('main')}/${lost.url}`)).status, 404);
    // Marked as lost: the next push heals it.
    const again = await push(`${scene.nginx.url}${api('main')}/push`, lost, auth);
    assert.deepEqual([again.nar.status, again.narinfo.status], [200, 200]);
    assert.equal((await send(scene.nginx.url, `${api('main')}/${lost.url}`)).status, 200);
  });
});

await describeEachNix('a private cache behind an nginx that sends files by itself', (nix) => {
  let scene: Scene;
  let client: NixClient;
  before(async () => {
    scene = await Scene.start();
    client = new NixClient({
      version: nix,
      dir: path.join(os.tmpdir(), `narwhal-x-accel-${nix.label}-${process.pid}`),
    });
  });
  after(async () => {
    await client?.remove();
    await scene?.remove();
  });

  it('takes what is pushed, and gives it out again', async () => {
    const { server, nginx } = scene;
    const storePath = await client.addTree('sent', { entries: { big: randomBytes(500_000), small: 'text' } });
    const netrc = path.join(client.dir, 'netrc');
    await writeFile(netrc, `machine 127.0.0.1 login anybody password ${await server.token('push', 'private')}\n`);
    const url = `${nginx.url}/api/v1/cache/private`;
    await client.copyTo(`${url}/push`, [storePath], { netrc });
    const reader = client.fresh(`narwhal-x-accel-reader-${nix.label}-${process.pid}`);
    try {
      await reader.copyFrom(url, [storePath], { netrc, trustedKeys: [await server.publicKey('private')] });
      await reader.verify({ paths: [storePath] });
    } finally {
      await reader.remove();
    }
  });
});
