import assert from 'node:assert/strict';
import { makePath, type TestPath } from '../support/nars.ts';
import { LISTING } from '../support/nix-path.ts';
import { pushByPut } from '../support/push.ts';
import { type RawRequest, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const DRV = '0'.repeat(32);
const ID = '00000000-0000-4000-8000-000000000000';

/** What each kind of request needs, and what a stranger hears where it is not allowed. */
interface Route {
  readonly method: string;
  readonly path: (it: TestPath) => string;
  readonly needs: 'Read' | 'Write' | 'Admin';
  readonly stranger: 200 | 404 | 401;
  readonly body?: string;
}

const inside: readonly Route[] = [
  { method: 'GET', path: () => '/nix-cache-info', needs: 'Read', stranger: 200 },
  { method: 'GET', path: () => '/push/nix-cache-info', needs: 'Read', stranger: 200 },
  { method: 'GET', path: (it) => `/${it.hashPart}.narinfo`, needs: 'Read', stranger: 404 },
  { method: 'HEAD', path: (it) => `/${it.hashPart}.narinfo`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/push/${it.hashPart}.narinfo`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/${it.hashPart.replace('0', '%30')}.narinfo?x=1`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/${it.narUrl}`, needs: 'Read', stranger: 404 },
  { method: 'HEAD', path: (it) => `/${it.narUrl}`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/${it.narUrl.replace('.nar', '%2enar')}`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/push/${it.narUrl}`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: (it) => `/${it.hashPart}.ls`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: () => `/log/${DRV}-x.drv`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: () => `/debuginfo/${'a'.repeat(40)}`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: () => `/realisations/sha256:${'a'.repeat(64)}!out.doi`, needs: 'Read', stranger: 404 },
  { method: 'GET', path: () => `/build-trace-v2/${DRV}-x.drv/out.doi`, needs: 'Read', stranger: 404 },
  { method: 'PUT', path: (it) => `/push/${it.hashPart}.ls`, needs: 'Write', stranger: 401, body: LISTING },
  { method: 'PUT', path: (it) => `/push/${it.narUrl}`, needs: 'Write', stranger: 401, body: 'x' },
  { method: 'PUT', path: (it) => `/push/${it.hashPart}.narinfo`, needs: 'Write', stranger: 401, body: 'x' },
  { method: 'PUT', path: () => `/push/log/${DRV}-x.drv`, needs: 'Write', stranger: 401, body: 'x' },
  { method: 'PUT', path: () => '/push/nix-cache-info', needs: 'Write', stranger: 401, body: 'StoreDir: /nix/store\n' },
  { method: 'PUT', path: (it) => `/${it.hashPart}.narinfo`, needs: 'Write', stranger: 401, body: 'x' },
];

const api: readonly Route[] = [
  { method: 'GET', path: () => '/', needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '', needs: 'Read', stranger: 401 },
  { method: 'POST', path: () => '/narinfo', needs: 'Read', stranger: 401, body: '[]' },
  { method: 'GET', path: (it) => `/narurl/${it.narUrl.slice(4)}`, needs: 'Read', stranger: 401 },
  { method: 'POST', path: () => '/multipart-nar?compression=zst', needs: 'Write', stranger: 401 },
  {
    method: 'POST',
    path: () => `/multipart-nar/${ID}?partNumber=1&uploadId=x`,
    needs: 'Write',
    stranger: 401,
    body: '{}',
  },
  { method: 'POST', path: () => `/multipart-nar/${ID}/complete?uploadId=x`, needs: 'Write', stranger: 401, body: '{}' },
  { method: 'POST', path: () => `/multipart-nar/${ID}/abort?uploadId=x`, needs: 'Write', stranger: 401 },
  { method: 'POST', path: () => '/nar?compression=zst', needs: 'Write', stranger: 401, body: 'x' },
  { method: 'POST', path: (it) => `/${it.hashPart}.narinfo`, needs: 'Write', stranger: 401, body: '{}' },
  { method: 'GET', path: () => '/pin', needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '/pin/x', needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '/gc', needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '/gc/plan', needs: 'Admin', stranger: 401 },
  { method: 'GET', path: () => '/gc/1', needs: 'Admin', stranger: 401 },
  { method: 'POST', path: () => '/gc', needs: 'Admin', stranger: 401, body: '{}' },
  { method: 'POST', path: () => '/pin', needs: 'Write', stranger: 401, body: '{}' },
  { method: 'DELETE', path: () => '/pin/x', needs: 'Write', stranger: 401 },
  { method: 'GET', path: (it) => `/explain/${it.hashPart}`, needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '/block', needs: 'Admin', stranger: 401 },
  { method: 'POST', path: () => '/block', needs: 'Admin', stranger: 401, body: '{}' },
  { method: 'DELETE', path: () => '/block/x', needs: 'Admin', stranger: 401 },
  { method: 'GET', path: () => '/paths', needs: 'Read', stranger: 401 },
  { method: 'GET', path: (it) => `/path/${it.hashPart}`, needs: 'Read', stranger: 401 },
  { method: 'GET', path: () => '/stats', needs: 'Read', stranger: 401 },
  { method: 'DELETE', path: () => '/path/x', needs: 'Admin', stranger: 401 },
  { method: 'POST', path: () => '/key', needs: 'Admin', stranger: 401, body: '{}' },
];

const RANK = { Read: 1, Write: 2, Admin: 3 } as const;
const TOKENS = { read: 'Read', push: 'Write', admin: 'Admin' } as const;

describe('a private cache', () => {
  let server: TestServer;
  let it1: TestPath;
  before(async () => {
    const expired = '  - {name: expired, permissions: [Admin], expiresAt: 2020-01-01T00:00:00Z}\n';
    server = await TestServer.start({ manifest: cacheManifest('main', `access: Private\n${standardSpec}${expired}`) });
    it1 = makePath();
    await pushByPut(server, it1);
  });
  after(() => server.remove());

  const prefix = '/api/v1/cache/main';
  const routes = [
    ...inside,
    ...inside.map((route) => ({ ...route, path: (it: TestPath) => `${prefix}${route.path(it)}` })),
    ...api.map((route) => ({ ...route, path: (it: TestPath) => `${prefix}${route.path(it)}` })),
  ];
  const sample = makePath({ seed: 'names' });

  for (const route of routes) {
    const ask = (headers: Record<string, string>) => {
      const init: RawRequest = { method: route.method, headers, ...(route.body !== undefined && { body: route.body }) };
      return send(server.url, route.path(it1), init);
    };
    describe(`${route.method} ${route.path(sample).replaceAll(sample.hashPart, '<hash>').replace(sample.narUrl.slice(4), '<nar>')}`, () => {
      it(`answers a stranger with ${route.stranger}`, async () => {
        const { status, headers, text } = await ask({});
        assert.equal(status, route.stranger, text);
        if (status === 404) assert.equal(headers['cache-control'], 'no-store');
        if (status === 401) assert.match(headers['www-authenticate'] ?? '', /^Basic /);
        assert.doesNotMatch(headers['cache-control'] ?? '', /public/);
      });

      it('tells a wrong, an expired or a too weak credential so, with 401', async () => {
        const wrong = [
          { authorization: 'Bearer nwl_unknown' },
          { authorization: `Basic ${Buffer.from('user:nwl_unknown').toString('base64')}` },
          await server.auth('expired'),
        ];
        for (const headers of wrong) {
          const { status, text } = await ask(headers);
          assert.equal(status, 401);
          if (route.method !== 'HEAD')
            assert.match(text, /^(?:no such cache, or no access to it without|cache main: token expired expired on )/);
        }
        for (const [name, permission] of Object.entries(TOKENS)) {
          if (RANK[permission] >= RANK[route.needs]) continue;
          const { status, text } = await ask(await server.auth(name));
          assert.equal(status, 401);
          assert.equal(text, `cache main: token ${name} has the permission ${permission}, this needs ${route.needs}\n`);
        }
      });

      it(`lets in who has ${route.needs}`, async () => {
        for (const [name, permission] of Object.entries(TOKENS)) {
          if (RANK[permission] < RANK[route.needs]) continue;
          const token = await server.token(name);
          for (const authorization of [`Bearer ${token}`, `Basic ${Buffer.from(`x:${token}`).toString('base64')}`]) {
            const { status, headers } = await ask({ authorization });
            assert.notEqual(status, 401);
            assert.doesNotMatch(headers['cache-control'] ?? '', /public/);
          }
        }
      });
    });
  }

  it('does not tell strangers which caches exist', async () => {
    const answers = await Promise.all(['main', 'other'].map((name) => send(server.url, `/api/v1/cache/${name}/`)));
    assert.deepEqual(
      answers.map((answer) => answer.status),
      [401, 401],
    );
  });

  it('answers part URLs by their own signature only', async () => {
    const query = `uploadId=x&md5=${'0'.repeat(32)}&expires=${Date.now() + 10_000}&signature=${'A'.repeat(43)}`;
    for (const headers of [{}, await server.auth('admin')]) {
      const { status } = await send(server.url, `${prefix}/multipart-nar/${ID}/part/1?${query}`, {
        method: 'PUT',
        body: 'x',
        headers,
      });
      assert.equal(status, 401);
    }
  });
});

describe('a public cache', () => {
  let server: TestServer;
  let it1: TestPath;
  before(async () => {
    server = await TestServer.start();
    it1 = makePath();
    await pushByPut(server, it1);
  });
  after(() => server.remove());

  it('lets anybody read, with a stale token too', async () => {
    for (const headers of [{}, { authorization: 'Bearer nwl_stale' }])
      for (const path of ['/nix-cache-info', `/${it1.hashPart}.narinfo`, `/${it1.narUrl}`])
        assert.equal((await send(server.url, path, { headers })).status, 200);
  });

  it('lets nobody write without a token', async () => {
    for (const route of inside.filter((it) => it.needs === 'Write')) {
      const init = { method: route.method, body: route.body ?? '' };
      assert.equal((await send(server.url, route.path(it1), init)).status, 401);
      assert.equal(
        (await send(server.url, route.path(it1), { ...init, headers: await server.auth('read') })).status,
        401,
      );
    }
  });

  it('refuses a write before it has read the body', async () => {
    const init = { method: 'PUT', body: it1.file, expect: true };
    const { status, continued } = await send(server.url, `/push/${it1.narUrl}`, init);
    assert.equal(status, 401);
    assert.equal(continued, false);
  });
});
