import assert from 'node:assert/strict';
import type http from 'node:http';
import { assertRefused, assertServed, Calls, claimOf, EMPTY } from '../support/cachix-calls.ts';
import { CachixClient, generateSigningKey, publicKeyOf, signPath } from '../support/cachix-client.ts';
import { pushable, randomHashPart } from '../support/cachix-paths.ts';
import { type RawRequest, send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const API = '/api/v1/cache/main';

function bearer(token: string): http.OutgoingHttpHeaders {
  return { authorization: `Bearer ${token}` };
}

function json(body: unknown, headers: http.OutgoingHttpHeaders = {}): RawRequest {
  return { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers } };
}

describe('the Cachix API of a public cache', () => {
  let server: TestServer;
  let calls: Calls;
  before(async () => {
    server = await TestServer.start();
    calls = await Calls.as(server);
  });
  after(() => server.remove());

  it('is read without a token, and with a bare Bearer', async () => {
    for (const authorization of [undefined, 'Bearer', 'Bearer ', 'Basic Og==']) {
      const headers = authorization === undefined ? {} : { authorization };
      assert.equal((await send(server.url, API, { headers })).status, 200, authorization);
      assert.equal((await send(server.url, `${API}/narinfo`, json([], headers))).status, 200, authorization);
    }
  });

  it('tells each token its permission', async () => {
    for (const [token, permission] of [
      ['read', 'Read'],
      ['push', 'Write'],
      ['admin', 'Admin'],
    ] as const) {
      const reply = await send(server.url, API, { headers: bearer(await server.token(token)) });
      assert.equal((JSON.parse(reply.text) as { permission: string }).permission, permission);
    }
  });

  it('takes the token as password of any user', async () => {
    const basic = (user: string) => Buffer.from(`${user}:${calls.token}`).toString('base64');
    for (const user of ['', '""', 'token', 'root']) {
      const reply = await send(server.url, '/api/v1/user', { headers: { authorization: `Basic ${basic(user)}` } });
      assert.equal(reply.status, 200, user);
    }
  });

  it('routes a URL that ends in a bare question mark', async () => {
    assert.equal((await send(server.url, `${API}?`)).status, 200);
    assert.equal((await send(server.url, `${API}/narinfo?`, json([]))).status, 200);
    assert.equal((await send(server.url, '/api/v1/user?', { headers: bearer(calls.token) })).status, 200);
    assert.equal((await send(server.url, `${API}/${randomHashPart()}.narinfo?`, { method: 'HEAD' })).status, 404);
  });

  it('answers a client that accepts gzip in gzip or as it is', async () => {
    const hashes = Array.from({ length: 5000 }, randomHashPart);
    const reply = await send(server.url, `${API}/narinfo`, json(hashes, { 'accept-encoding': 'gzip' }));
    assert.ok([undefined, 'gzip'].includes(reply.headers['content-encoding']));
  });

  it('answers HEAD of a narinfo with 200 or 404, without a body', async () => {
    const path = await pushable();
    assert.equal((await (await calls.uploaded(path)).complete(claimOf(path))).status, 200);
    const [present, missing] = await Promise.all(
      [path.hashPart, randomHashPart()].map((hash) => calls.call('HEAD', `/${hash}.narinfo`)),
    );
    assert.deepEqual([present?.status, missing?.status], [200, 404]);
    assert.deepEqual([present?.text, missing?.text], ['', '']);
  });

  it('gives the URL of a NAR', async () => {
    const path = await pushable();
    await (await calls.uploaded(path)).complete(claimOf(path));
    const file = /^URL: nar\/(.*)$/m.exec(await assertServed(server, path))?.[1] ?? '';
    const reply = await calls.call('GET', `/narurl/${file}`);
    assert.equal(reply.status, 200);
    assert.equal(reply.headers['content-type'], 'application/json; charset=utf-8');
    const { pathname } = new URL(JSON.parse(reply.text) as string);
    assert.ok((await send(server.url, pathname)).body.equals(path.file));
    assertRefused(await calls.call('GET', `/narurl/${'0'.repeat(52)}.nar.zst`), 404, /not found/);
  });

  it('knows a good token from a bad one', async () => {
    const good = await send(server.url, '/api/v1/user', { headers: bearer(await server.token('read')) });
    assert.equal(good.status, 200);
    assert.match(good.headers['content-type'] ?? '', /^application\/json/);
    for (const headers of [{}, bearer(''), bearer('wrong')]) {
      assertRefused(await send(server.url, '/api/v1/user', { headers }), 401, /^no cache here knows this token/);
    }
  });

  describe('asked for missing paths', () => {
    for (const count of [0, 1, 32_768, 50_000, 65_536]) {
      it(`answers for ${count} hashes`, async () => {
        const path = await pushable();
        await (await calls.uploaded(path)).complete(claimOf(path));
        const hashes = Array.from({ length: Math.max(0, count - 1) }, randomHashPart);
        const reply = await send(server.url, `${API}/narinfo`, json(count === 0 ? [] : [...hashes, path.hashPart]));
        assert.equal(reply.status, 200, reply.text.slice(0, 200));
        assert.match(reply.headers['content-type'] ?? '', /^application\/json/);
        assert.deepEqual(JSON.parse(reply.text), hashes);
      });
    }

    it('refuses more than it is set to take', async () => {
      const hashes = Array.from({ length: 65_537 }, randomHashPart);
      assertRefused(await send(server.url, `${API}/narinfo`, json(hashes)), 413, /^at most 65536 hashes/);
    });

    it('counts what is no hash as missing, letter by letter', async () => {
      const path = await pushable();
      await (await calls.uploaded(path)).complete(claimOf(path));
      const odd = ['', 'x', `${path.hashPart}x`, path.hashPart.toUpperCase(), "' OR 1=1 --", 'é'.repeat(32)];
      const reply = await send(server.url, `${API}/narinfo`, json([...odd, path.hashPart]));
      assert.deepEqual(JSON.parse(reply.text), odd);
    });

    it('counts unfinished uploads as missing', async () => {
      const path = await pushable();
      const upload = await calls.uploaded(path);
      assert.deepEqual(JSON.parse((await calls.call('POST', '/narinfo', [path.hashPart])).text), [path.hashPart]);
      await upload.abort();
    });

    it('refuses what is no list of texts', async () => {
      for (const body of ['{', '{}', '[1]', 'null', '"x"']) {
        assertRefused(await send(server.url, `${API}/narinfo`, { method: 'POST', body }), 400, /./);
      }
    });
  });

  describe('pushed to as clients up to 1.2 do', () => {
    it('publishes a NAR and its claims', async () => {
      const client = new CachixClient({ host: server.url, cache: 'main', token: calls.token });
      for (const compression of ['zst', 'xz'] as const) {
        const path = await pushable({ compression });
        await client.pushLegacy(path);
        await assertServed(server, path);
        await client.pushLegacy(path);
      }
      client.close();
    });

    it('takes a NAR without a compression in its URL for xz', async () => {
      const path = await pushable({ compression: 'xz' });
      assert.equal((await calls.call('POST', '/nar', path.file)).status, 200);
      assert.equal((await calls.call('POST', `/${path.hashPart}.narinfo`, claimOf(path))).status, 200);
      await assertServed(server, path);
    });

    it('refuses claims without a NAR, for another URL, or that the NAR does not bear out', async () => {
      const path = await pushable();
      const url = `/${path.hashPart}.narinfo`;
      assertRefused(await calls.call('POST', url, claimOf(path)), 400, /send the NAR before its narinfo/);
      assert.equal((await calls.call('POST', '/nar?compression=zst', path.file)).status, 200);
      assertRefused(await calls.call('POST', `/${randomHashPart()}.narinfo`, claimOf(path)), 400, /cStoreHash/);
      assertRefused(await calls.call('POST', url, claimOf(path, { cNarSize: 8 })), 400, /^cNarSize says/);
      assert.equal((await calls.call('POST', url, claimOf(path))).status, 200);
    });

    it('refuses a NAR that is none', async () => {
      assertRefused(await calls.call('POST', '/nar?compression=zst', Buffer.from('no NAR')), 400, /zstd data/);
      assertRefused(await calls.call('POST', '/nar', (await pushable()).file), 400, /xz data/);
      assertRefused(await calls.call('POST', '/nar?compression=br', EMPTY), 400, /^compression: expected/);
    });
  });
});

describe('the Cachix API of a private cache', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({ manifest: cacheManifest('main', `access: Private\n${standardSpec}`) });
  });
  after(() => server.remove());

  const id = '11111111-1111-4111-8111-111111111111';
  const file = `${'0'.repeat(52)}.nar.zst`;
  const hash = '0'.repeat(32);
  /** Method, path below the cache, and the permission that suffices. */
  const ROUTES: readonly [string, string, 'Read' | 'Write' | 'Admin'][] = [
    ['GET', '', 'Read'],
    ['POST', '/narinfo', 'Read'],
    ['GET', `/narurl/${file}`, 'Read'],
    ['POST', '/multipart-nar?compression=zst', 'Write'],
    ['POST', `/multipart-nar/${id}?uploadId=u&partNumber=1`, 'Write'],
    ['POST', `/multipart-nar/${id}/complete?uploadId=u`, 'Write'],
    ['POST', `/multipart-nar/${id}/abort?uploadId=u`, 'Write'],
    ['POST', '/nar?compression=zst', 'Write'],
    ['POST', `/${hash}.narinfo`, 'Write'],
    ['POST', '/key', 'Admin'],
  ];
  for (const [method, path, needed] of ROUTES) {
    it(`needs ${needed} for ${method} ${path || '/'}`, async () => {
      const body = method === 'GET' ? undefined : '[]';
      const ask = (token: string) =>
        send(server.url, `${API}${path}`, { method, headers: bearer(token), ...(body !== undefined && { body }) });
      for (const token of ['', 'wrong'])
        assertRefused(await ask(token), 401, /^no such cache, or no access to it without a token that it knows$/m);
      const order = ['Read', 'Write', 'Admin'];
      for (const [token, permission] of [
        ['read', 'Read'],
        ['push', 'Write'],
        ['admin', 'Admin'],
      ] as const) {
        const reply = await ask(await server.token(token));
        if (order.indexOf(permission) >= order.indexOf(needed)) assert.notEqual(reply.status, 401, token);
        else assertRefused(reply, 401, new RegExp(`token ${token} has the permission ${permission}`));
      }
    });
  }

  it('hides its narinfos and NARs from strangers, and refuses a wrong token', async () => {
    for (const path of [`/${hash}.narinfo`, `/nar/${file}`]) {
      for (const method of ['GET', 'HEAD']) {
        assert.equal((await send(server.url, `${API}${path}`, { method })).status, 404);
        assert.equal((await send(server.url, `${API}${path}`, { method, headers: bearer('wrong') })).status, 401);
        const good = await send(server.url, `${API}${path}`, { method, headers: bearer(await server.token('read')) });
        assert.equal(good.status, 404);
      }
    }
  });
});

describe('a self-signed cache', () => {
  let server: TestServer;
  let calls: Calls;
  const [key, strange] = [generateSigningKey(), generateSigningKey()];
  before(async () => {
    const spec = `signing: {mode: SelfSigned}\n${standardSpec}`;
    server = await TestServer.start({ manifest: cacheManifest('main', spec) });
    calls = await Calls.as(server);
  });
  after(() => server.remove());

  it('has no key at first and takes no path', async () => {
    const info = JSON.parse((await calls.call('GET', '')).text) as { publicSigningKeys: string[] };
    assert.deepEqual(info.publicSigningKeys, []);
    const path = await pushable();
    const upload = await calls.uploaded(path);
    assertRefused(await upload.complete(claimOf(path)), 400, /cachix generate-keypair/);
  });

  it('takes a key from an administrator only, twice if need be', async () => {
    const body = { publicKey: publicKeyOf(key) };
    assertRefused(await calls.call('POST', '/key', body), 401, /this needs Admin/);
    const admin = await Calls.as(server, 'admin');
    for (const publicKey of ['', 'x', `name:${publicKeyOf(key)}`, 7]) {
      assertRefused(
        await admin.call('POST', '/key', { publicKey }),
        400,
        /^publicKey: expected the base64 of 32 bytes/,
      );
    }
    for (const _ of [1, 2]) assert.equal((await admin.call('POST', '/key', body)).status, 200);
    assert.equal(await server.publicKey(), `main.localhost-1:${publicKeyOf(key)}`);
  });

  it('publishes what is signed by that key, under its name', async () => {
    const dep = await pushable();
    const signed = claimOf(dep, { cSig: signPath(key, dep.claim) });
    assert.equal((await (await calls.uploaded(dep)).complete(signed)).status, 200);
    const path = await pushable({ references: [`${dep.hashPart}-dep`] });
    const cSig = signPath(key, path.claim);
    assert.equal((await (await calls.uploaded(path)).complete(claimOf(path, { cSig }))).status, 200);
    assert.ok((await assertServed(server, path)).endsWith(`\nSig: main.localhost-1:${cSig}\n`));
  });

  it('refuses a path without a signature, or with a wrong one', async () => {
    const path = await pushable();
    const wrong: [unknown, RegExp][] = [
      [null, /self-signed/],
      ['', /./],
      ['nonsense', /cSig/],
      [signPath(strange, path.claim), /cSig is not a signature/],
      [signPath(key, { ...path.claim, cNarSize: path.nar.length + 8 }), /cSig is not a signature/],
    ];
    for (const [cSig, text] of wrong) {
      assertRefused(await (await calls.uploaded(path)).complete(claimOf(path, { cSig })), 400, text);
    }
  });

  it('is pushed to by a client with a signing key', async () => {
    const client = new CachixClient({ host: server.url, cache: 'main', token: calls.token, signingKey: key });
    const path = await pushable();
    assert.deepEqual(await client.push([path]), [path.hashPart]);
    await assertServed(server, path);
    client.close();
  });
});

describe('a managed cache', () => {
  it('registers no key, and signs by itself what a client has signed too', async () => {
    const server = await TestServer.start();
    try {
      const [calls, admin] = [await Calls.as(server), await Calls.as(server, 'admin')];
      const key = generateSigningKey();
      assertRefused(await admin.call('POST', '/key', { publicKey: publicKeyOf(key) }), 400, /signs paths itself/);
      const path = await pushable();
      const claim = claimOf(path, { cSig: signPath(key, path.claim) });
      assert.equal((await (await calls.uploaded(path)).complete(claim)).status, 200);
      assert.equal((await assertServed(server, path)).match(/^Sig: main\.localhost-1:/gm)?.length, 1);
    } finally {
      await server.remove();
    }
  });
});

describe('hosts of the Cachix API', () => {
  let server: TestServer;
  const two = () => ['one', 'two'].map((name) => cacheManifest(name, standardSpec)).join('---\n');
  const nameBy = async (path: string, host: string) => {
    const reply = await send(server.url, path, { headers: { host } });
    return reply.status === 200 ? (JSON.parse(reply.text) as { name: string; uri: string }) : reply.status;
  };
  afterEach(() => server.remove());

  it('are all the same with one cache', async () => {
    server = await TestServer.start();
    for (const host of ['localhost', 'main.localhost', 'api.localhost', 'nobody.example', `127.0.0.1:${server.port}`]) {
      const info = await nameBy(API, host);
      assert.deepEqual(typeof info === 'object' && info.uri, `http://main.localhost:${server.port}`, host);
      const text = await send(server.url, '/nix-cache-info', { headers: { host } });
      assert.equal(text.status, 200, host);
    }
  });

  it('choose between two caches', async () => {
    server = await TestServer.start({ manifest: two() });
    const calls = await Calls.as(server, 'push', 'two');
    const path = await pushable();
    // Clients up to 1.6.1 send uploads to the host of the cache.
    for (const host of ['two.localhost', 'api.localhost', 'localhost']) {
      const headers = { host, ...bearer(calls.token) };
      const create = { method: 'POST', headers, body: EMPTY };
      const reply = await send(server.url, '/api/v1/cache/two/multipart-nar?compression=zst', create);
      assert.equal(reply.status, 200, host);
    }
    assert.equal((await (await calls.uploaded(path)).complete(claimOf(path))).status, 200);
    const narinfo = `/${path.hashPart}.narinfo`;
    const statuses = ['two.localhost', 'TWO.localhost.:80', 'one.localhost', 'localhost', 'nobody.example'].map(
      async (host) => (await send(server.url, narinfo, { headers: { host } })).status,
    );
    assert.deepEqual(await Promise.all(statuses), [200, 200, 404, 404, 404]);
    assertRefused(await (await Calls.as(server, 'push', 'one')).call('GET', `/narurl/x`), 404, /./);
    const stranger = new Calls(server, await server.token('push', 'one'), 'two');
    assertRefused(await stranger.call('POST', '/multipart-nar?compression=zst', EMPTY), 401, /^cache two: /);
  });

  it('tell nobody whether a cache is unknown', async () => {
    server = await TestServer.start({ manifest: two() });
    const ask = (token: string) => send(server.url, '/api/v1/cache/three', { headers: bearer(token) });
    assertRefused(await ask(''), 401, /^no such cache, or no access/);
    assertRefused(await ask('wrong'), 401, /^no such cache, or no access/);
    assertRefused(await ask(await server.token('read', 'two')), 401, /^no such cache, or no access/);
  });

  it('do not matter to a listener of one cache', async () => {
    server = await TestServer.start({ manifest: two(), args: ['--listen', '127.0.0.1:0', 'one=127.0.0.1:0'] });
    await until('both addresses are known', () => server.output.includes('"msg":"ready"'));
    const ready = server.output.split('\n').find((line) => line.includes('"msg":"ready"')) ?? '{}';
    const addresses = (JSON.parse(ready) as { listen: string[] }).listen;
    const address = addresses.at(-1) ?? '';
    const ask = (path: string, host: string) =>
      send(`http://${address.replace(/^.*=/, '')}`, path, { headers: { host } });
    assert.equal((await ask('/nix-cache-info', 'two.localhost')).status, 200);
    assert.equal((await ask('/api/v1/cache/one', 'two.localhost')).status, 200);
    assert.equal((await ask('/api/v1/cache/two', 'localhost')).status, 401);
  });

  it('are in the URLs of requests that came by an alias', async () => {
    server = await TestServer.start({ args: ['--alias', 'http://cache.internal:8080'] });
    const uri = async (host: string) => {
      const info = await nameBy(API, host);
      return typeof info === 'object' && info.uri;
    };
    assert.equal(await uri('cache.internal:8080'), 'http://main.cache.internal:8080');
    assert.equal(await uri('main.cache.internal'), 'http://main.cache.internal:8080');
    assert.equal(await uri('evil.example'), `http://main.localhost:${server.port}`);
  });
});
