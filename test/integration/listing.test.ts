/** Lists of paths, single paths and sums, by HTTP. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { ServerStatus } from '../../crds/index.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { ASKED_ONLY, GcClient, refer } from '../support/gc.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { type Reply, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const STRANGER = 'no such cache, or no access to it without a token that it knows\n';
const QUOTA = 'quota: {maxSize: 10Gi}\nretention: {maxSize: 1, minAgeSeconds: 0, everySeconds: 86400}\n';

interface Listed {
  readonly storePath: string;
  readonly [field: string]: unknown;
}
interface Page {
  readonly paths: readonly Listed[];
  readonly next: string | null;
}

async function ask(api: string, path: string, headers: Record<string, string> = {}): Promise<Reply> {
  return send(api, path, { headers });
}

function jsonOf<T>({ status, text, headers }: Reply): T {
  assert.equal(status, 200, text);
  assert.equal(headers['content-type'], 'application/json; charset=utf-8');
  return JSON.parse(text) as T;
}

describe('the content of a public cache', () => {
  let server: TestServer;
  let reader: Record<string, string>;
  let [lib, app, alone]: TestPath[] = [];
  before(async () => {
    const spec = `${standardSpec}${QUOTA}`;
    server = await TestServer.start({
      manifest: `${cacheManifest('main', spec)}---\n${cacheManifest('other', spec)}`,
      args: ASKED_ONLY,
    });
    reader = await server.auth('read');
  });
  after(() => server.remove());

  const get = (path: string) => ask(server.api(), path, reader);
  const list = async (query = '') => jsonOf<Page>(await get(`/paths${query}`));
  const names = ({ paths }: Page) => paths.map((it) => it.storePath.slice(44));
  const published = (): [TestPath, TestPath, TestPath] => {
    assert.ok(lib && app && alone);
    return [lib, app, alone];
  };

  it('is empty at first', async () => {
    assert.deepEqual(await list(), { paths: [], next: null });
  });

  it('is listed with what is known of each path', async () => {
    lib = makePath({ name: 'lib-1' });
    app = refer('app-1', lib);
    alone = refer('Zebra', makePath({ name: 'never-pushed' }));
    const before = Date.now();
    for (const it of published()) await pushByPut(server, it);
    const pin = await send(server.api(), '/pin', {
      method: 'POST',
      headers: await server.auth('push'),
      body: JSON.stringify({ name: 'v1', storePath: app.storePath, artifacts: [], keep: null }),
    });
    assert.equal(pin.status, 200);
    const { paths, next } = await list();
    assert.equal(next, null);
    const byHash = [...published()].sort((a, b) => (a.hashPart < b.hashPart ? -1 : 1));
    assert.deepEqual(
      paths.map(({ publishedAt, usedAt, ...rest }) => {
        for (const at of [publishedAt, usedAt]) assert.ok(Math.abs(Date.parse(String(at)) - before) < 600_000);
        return rest;
      }),
      byHash.map((it) => ({
        ...{ storePath: it.storePath, narSize: it.nar.length, fileSize: it.file.length },
        ...{ pinned: it === app, waiting: it === alone, lost: false },
      })),
    );
  });

  it('is sorted by name and by age, searched, and cut into pages', async () => {
    assert.deepEqual(names(await list('?sort=name')), ['Zebra', 'app-1', 'lib-1']);
    assert.deepEqual(names(await list('?sort=published')), ['Zebra', 'app-1', 'lib-1']);
    for (const sort of ['hash', 'name', 'published']) {
      assert.deepEqual(names(await list(`?search=app&sort=${sort}`)), ['app-1']);
      assert.deepEqual(names(await list(`?search=${published()[2].hashPart}&sort=${sort}`)), ['Zebra']);
      assert.deepEqual(names(await list(`?search=zebra&sort=${sort}`)), []);
    }
    const first = await list('?sort=name&limit=2');
    assert.deepEqual(names(first), ['Zebra', 'app-1']);
    const second = await list(`?sort=name&limit=2&page=${first.next}`);
    assert.deepEqual([names(second), second.next], [['lib-1'], null]);
  });

  it('is told of nobody without a token, and takes no nonsense', async () => {
    const { next } = await list('?limit=1');
    assert.ok(next);
    const page = 'page: this is no page of this list: begin without it';
    const limit = 'limit: expected a whole number from 1 to 1000';
    const search = 'search: expected the beginning of a hash part or of a name';
    const hash = 'a path is named by the 32 characters of its hash, or as a store path';
    for (const [path, status, line] of [
      ['/paths?limit=0', 400, limit],
      ['/paths?limit=1001', 400, limit],
      ['/paths?limit=-1', 400, limit],
      ['/paths?limit=x', 400, limit],
      ['/paths?limit=', 400, limit],
      ['/paths?sort=size', 400, 'sort: expected one of hash, name, published'],
      ['/paths?sort=__proto__', 400, 'sort: expected one of hash, name, published'],
      ['/paths?search=%00', 400, search],
      ['/paths?search=a%25', 400, search],
      [`/paths?search=${'a'.repeat(212)}`, 400, search],
      ['/paths?page=', 400, page],
      ['/paths?page=x', 400, page],
      [`/paths?page=${next}&sort=name`, 400, page],
      [`/paths?page=${next}&search=a`, 400, page],
      [`/paths?page=${next}x`, 400, page],
      ['/path/x', 400, hash],
      [`/path/${'e'.repeat(32)}`, 400, hash],
      [`/path/${makePath().hashPart}`, 404, 'no such path'],
      ['/paths/x', 404, 'not found'],
      ['/stats/x', 404, 'not found'],
    ] as const) {
      const { status: was, text } = await get(path);
      assert.deepEqual([was, text], [status, `${line}\n`], path);
    }
    const other = await ask(server.api('other'), `/paths?page=${next}`, await server.auth('read', 'other'));
    assert.deepEqual([other.status, other.text], [400, `${page}\n`]);
    for (const path of ['/paths', '/stats', `/path/${published()[0].hashPart}`])
      for (const headers of [{}, { authorization: 'Bearer nwl_unknown' }])
        assert.deepEqual(await ask(server.api(), path, headers).then((it) => [it.status, it.text]), [401, STRANGER]);
  });

  it('has all that is known of one path, and what it needs', async () => {
    const [lib, app, alone] = published();
    const { publishedAt, usedAt, signatures, ...rest } = jsonOf<Record<string, unknown>>(
      await get(`/path/${app.hashPart}`),
    );
    assert.ok(publishedAt && usedAt);
    const narinfo = (await ask(server.api(), `/${app.hashPart}.narinfo`)).text;
    assert.deepEqual(signatures, narinfo.match(/(?<=^Sig: ).*$/gm));
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(narinfo)?.[1];
    const sum = (of: (path: TestPath) => number) => of(lib) + of(app);
    assert.deepEqual(rest, {
      ...{ storePath: app.storePath, narSize: app.nar.length, fileSize: app.file.length },
      ...{ pinned: true, waiting: false, lost: false, pins: ['v1'] },
      ...{ references: [lib.storePath], deriver: null, ca: null },
      ...{ narHash: field('NarHash'), fileHash: field('FileHash'), compression: field('Compression') },
      narUrl: field('URL'),
      closure: {
        ...{ paths: 2, narBytes: sum((it) => it.nar.length), fileBytes: sum((it) => it.file.length) },
        ...{ missing: 0, cut: false },
      },
    });
    // A store path names it as well; only what is here can be added up.
    const waiting = jsonOf<{ closure: object }>(await get(`/path/${alone.storePath.slice(11)}`));
    assert.deepEqual(waiting.closure, {
      ...{ paths: 1, narBytes: alone.nar.length, fileBytes: alone.file.length, missing: 1, cut: false },
    });
  });

  it('is added up as /status does it, what is lost and retired too', async () => {
    const [lib, app, alone] = published();
    const stats = async (token = 'read') =>
      jsonOf<Record<string, unknown>>(await ask(server.api(), '/stats', await server.auth(token)));
    const usedBytes = [lib, app, alone].reduce((sum, it) => sum + it.file.length, 0);
    const { storages, waiting, ...rest } = await stats();
    const status = (await (await fetch(`${server.adminUrl}/status`)).json()) as ServerStatus;
    const cache = status.caches.find((it) => it.name === 'main');
    assert.ok(cache);
    assert.deepEqual(waiting, cache.waiting);
    assert.deepEqual(
      storages,
      cache.storages.map((it) => ({
        ...{ name: it.name, usedBytes: it.usedBytes, capacityBytes: it.capacityBytes ?? null },
        objects: 3,
      })),
    );
    assert.deepEqual(rest, {
      ...{ paths: 3, quota: { maxBytes: 10 * 2 ** 30, softBytes: 0.85 * 10 * 2 ** 30, usedBytes } },
      ...{ retired: { paths: 0, bytes: 0 }, lostObjects: 0, pins: 1, lastGC: null },
    });

    await rm(await fileOf(lib));
    assert.equal((await ask(server.api(), `/${lib.narUrl}`)).status, 404);
    await until('its loss is known', async () => (await stats()).lostObjects === 1);
    const lost = await list(`?search=${lib.hashPart}`);
    assert.deepEqual([lost.paths[0]?.lost, lost.paths[0]?.waiting], [true, false]);
    const details = jsonOf<{ lost: boolean; signatures: string[] }>(await get(`/path/${lib.hashPart}`));
    assert.ok(details.lost && details.signatures.length > 0);

    const run = await GcClient.of(server, 'admin').run(true);
    assert.equal(run.removedPaths, 1);
    const { message, ...known } = run;
    const after = await stats();
    assert.deepEqual(after.retired, { paths: 1, bytes: alone.file.length });
    assert.deepEqual(after.lastGC, known);
    assert.deepEqual((await stats('admin')).lastGC, { ...known, message });
  });

  async function fileOf(it: TestPath): Promise<string> {
    const objects = path.join(server.data, 'main', 'storages', 'disk', 'objects');
    for (const name of await readdir(objects, { recursive: true })) {
      const file = path.join(objects, name);
      if ((await readFile(file).catch(() => undefined))?.equals(it.file)) return file;
    }
    throw new Error(`no file of ${it.storePath}`);
  }
});

describe('the content of a cache behind a gateway', () => {
  it('is told as by its server, and strangers hear what strangers hear', async () => {
    const pair = await GatewayPair.start();
    try {
      const it = makePath({ name: 'hello' });
      await pushByPut(pair.secret, it, { cache: 'private' });
      const token = { authorization: `Bearer ${await pair.secret.token('read', 'private')}` };
      for (const path of ['/paths', '/paths?search=hel&sort=name', `/path/${it.hashPart}`]) {
        const [one, other] = await Promise.all(
          [pair.api('private'), pair.secret.api('private')].map((api) => ask(api, path, token)),
        );
        assert.equal(one?.status, 200);
        assert.equal(one?.text, other?.text);
      }
      assert.equal((await ask(pair.api('private'), '/stats', token)).status, 200);
      for (const path of ['/paths', '/stats', `/path/${it.hashPart}`])
        for (const cache of ['private', 'nosuch']) assert.equal((await ask(pair.api(cache), path)).text, STRANGER);
    } finally {
      await pair.remove();
    }
  });
});
