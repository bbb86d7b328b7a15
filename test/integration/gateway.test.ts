// Real clients and real servers with a real gateway between them.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { CachixClient } from '../support/cachix-client.ts';
import { pushable } from '../support/cachix-paths.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath } from '../support/nars.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';

describe('a gateway before two servers', () => {
  let pair: GatewayPair;
  before(async () => {
    pair = await GatewayPair.start();
  });
  after(() => pair.remove());

  const bearer = async (cache: 'main' | 'private', name = 'push') =>
    (cache === 'main' ? pair.main : pair.secret).auth(name, cache);
  const get = async (where: string, headers: Record<string, string> = {}) => send(pair.gateway.url, where, { headers });

  it('finds a cache by host and by path', async () => {
    const it = makePath();
    await pushByPut(pair.main, it);
    const narinfo = `/${it.hashPart}.narinfo`;
    for (const [host, where] of [
      ['main.localhost', narinfo],
      [`main.localhost:${pair.gateway.port}`, narinfo],
      ['localhost', `/api/v1/cache/main${narinfo}`],
      ['api.localhost', `/api/v1/cache/main${narinfo}`],
      ['private.localhost', `/api/v1/cache/main${narinfo}`],
      ['nobody.example.org', `/api/v1/cache/main${narinfo}`],
    ] as const) {
      assert.equal((await get(where, { host })).status, 200, `${host}${where}`);
    }
    assert.equal((await get(narinfo, { host: 'private.localhost' })).status, 404);
    assert.equal((await get('/nix-cache-info', { host: 'private.localhost' })).status, 200);
  });

  it('answers as a server does where no cache is meant', async () => {
    const one = await bearer('main');
    const noAccess = 'no such cache, or no access to it without a token that it knows';
    const rows: [where: string, headers: Record<string, string>, status: number, text: string][] = [
      ['/api/v1/cache/nobody', {}, 401, noAccess],
      ['/api/v1/cache/nobody', { authorization: 'Bearer nwl_x' }, 401, noAccess],
      ['/api/v1/cache/nobody', one, 401, noAccess],
      ['/api/v1/user', {}, 401, 'no cache here knows this token'],
      ['/api/v1/user', { authorization: 'Bearer nwl_x' }, 401, 'no cache here knows this token'],
      [`/${'0'.repeat(32)}.narinfo`, { host: 'third.localhost' }, 404, 'not found'],
      ['/nix-cache-info', {}, 404, 'no such cache'],
      ['/api/v1/cache/main/../../../etc/passwd', {}, 404, 'not found'],
    ];
    for (const [where, headers, status, text] of rows) {
      const reply = await get(where, { host: 'localhost', ...headers });
      assert.deepEqual([reply.status, reply.text], [status, `${text}\n`], where);
      assert.equal(reply.headers['www-authenticate'] !== undefined, status === 401);
      assert.match(String(reply.headers['x-request-id']), /^[\w-]{36}$/);
    }
    const wrong = await send(pair.gateway.url, '/x', { method: 'DELETE', headers: { host: 'localhost' } });
    assert.deepEqual([wrong.status, wrong.text], [405, 'DELETE is not possible here\n']);
  });

  it('finds the cache of a token', async () => {
    for (const cache of ['main', 'private'] as const) {
      const { status, text } = await get('/api/v1/user', { host: 'localhost', ...(await bearer(cache)) });
      assert.equal(status, 200, text);
      assert.deepEqual(JSON.parse(text), { name: 'push', githubUsername: '' });
    }
    const basic = Buffer.from(`x:${await pair.secret.token('read', 'private')}`).toString('base64');
    assert.equal((await get('/api/v1/user', { host: 'localhost', authorization: `Basic ${basic}` })).status, 200);
  });

  it('leaves it to the servers who may do what', async () => {
    const it = makePath();
    await pushByPut(pair.secret, it, { cache: 'private' });
    const narinfo = `/api/v1/cache/private/${it.hashPart}.narinfo`;
    assert.equal((await get(narinfo)).status, 404);
    assert.equal((await get(narinfo, await bearer('private', 'read'))).status, 200);
    assert.equal((await get(narinfo, await bearer('main'))).status, 401);
    assert.equal((await get('/api/v1/cache/private')).status, 401);
  });

  it('serves the Cachix client', async () => {
    for (const cache of ['main', 'private'] as const) {
      const server = cache === 'main' ? pair.main : pair.secret;
      const client = new CachixClient({
        host: pair.apiUrl,
        cache,
        token: await server.token('push', cache),
        chunkSize: 1_100_000,
      });
      const paths = [await pushable({ contents: randomBytes(3_000_000) }), await pushable(), await pushable()];
      assert.equal((await client.info()).uri, `http://${cache}.localhost:${pair.gateway.port}`);
      assert.equal((await client.push(paths)).length, 3);
      assert.deepEqual(await client.push(paths), []);
      for (const { claim } of paths) assert.ok(await client.head(claim.cStoreHash));
      await client.pushLegacy(await pushable());
      client.close();
    }
  });

  it('passes on who the client is, and the id of the request', async () => {
    const seen = pair.main.output.length;
    const headers = { 'x-forwarded-for': '203.0.113.9', 'x-request-id': 'one-that-i-know' };
    assert.equal((await get('/api/v1/cache/main', headers)).headers['x-request-id'], 'one-that-i-know');
    const log = () =>
      pair.main.output
        .slice(seen)
        .split('\n')
        .find((it) => it.includes('"one-that-i-know"') && it.includes('"msg":"request"'));
    await until('it is logged', () => log() !== undefined);
    // What a stranger says of itself does not count.
    assert.equal(JSON.parse(log() ?? '').remote, '127.0.0.1');
  });

  it('tells that it is well, what it runs, and what it did', async () => {
    const { gateway } = pair;
    const { version, ready, routes, error } = await gateway.status();
    assert.deepEqual([typeof version, ready, routes?.caches, error], ['string', true, 2, null]);
    for (const [where, text] of [
      ['/livez', /^ok$/m],
      ['/readyz', /^ready$/m],
      ['/readyz?verbose', /^\[\+\] routing table: 2 caches$/m],
    ] as const)
      assert.match(await (await fetch(`${gateway.adminUrl}${where}`)).text(), text);
    const count = () => gateway.metric('narwhal_gateway_requests_total{cache="main",code="2xx"}');
    const before = await count();
    await get('/api/v1/cache/main');
    await until('it is counted', async () => (await count()) === before + 1);
    assert.equal(await gateway.metric('narwhal_gateway_circuit{cache="main",state="closed"}'), 1);
    assert.ok((await gateway.metric('narwhal_gateway_sent_bytes_total{cache="main"}')) > 0);
  });

  it('keeps tokens out of its log', async () => {
    for (const [server, cache] of [
      [pair.main, 'main'],
      [pair.secret, 'private'],
    ] as const)
      for (const name of ['read', 'push', 'admin'])
        assert.ok(!pair.gateway.output.includes(await server.token(name, cache)));
  });
});

await describeEachNix('a gateway and real clients', (nix) => {
  let pair: GatewayPair;
  let dir: string;
  const clients: NixClient[] = [];
  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'narwhal-gateway-nix-'));
    pair = await GatewayPair.start();
  });
  after(async () => {
    await pair.remove();
    for (const client of clients) await client.remove();
    await rm(dir, { recursive: true, force: true });
  });

  function newClient(name: string): NixClient {
    const client = new NixClient({ version: nix, dir: path.join(dir, name) });
    clients.push(client);
    return client;
  }

  for (const cache of ['main', 'private'] as const) {
    it(`push to and pull from the ${cache} cache, signatures checked`, async () => {
      const server = cache === 'main' ? pair.main : pair.secret;
      const netrc = path.join(dir, `netrc-${cache}`);
      const password = await server.token('push', cache);
      // libcurl resolves names below localhost by itself.
      const base = `http://${cache}.localhost:${pair.gateway.port}`;
      await writeFile(netrc, `machine ${cache}.localhost login x password ${password}\n`, { mode: 0o600 });
      const pusher = newClient(`pusher-${cache}`);
      const paths = [await pusher.addTree('small', 'a text'), await pusher.addTree('big', randomBytes(5_000_000))];
      await pusher.copyTo(`${base}/push`, paths, { netrc, params: { compression: 'xz' } });
      const puller = newClient(`puller-${cache}`);
      const trust = { substituters: [base], trustedKeys: [await server.publicKey(cache)], netrc };
      const { code, stderr } = await puller.realise(paths, trust);
      assert.equal(code, 0, stderr);
      await puller.verify({ paths, trustedKeys: trust.trustedKeys });
    });
  }
});
