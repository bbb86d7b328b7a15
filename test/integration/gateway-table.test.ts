// The routing table of a gateway while it changes, and a gateway that stops.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import http, { type IncomingMessage } from 'node:http';
import { TestGateway } from '../support/gateway.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { bodyOf, Upstream } from '../support/upstream.ts';

describe('the routing table of a gateway', () => {
  let pair: GatewayPair;
  let big: TestPath;
  before(async () => {
    pair = await GatewayPair.start();
    big = makePath({ contents: randomBytes(40 * 2 ** 20), compression: 'none' });
    await pushByPut(pair.main, big);
  });
  after(() => pair.remove());
  afterEach(async () => {
    await pair.gateway.useTable(await pair.table());
  });

  const status = async (where: string, headers = {}) => (await send(pair.gateway.url, where, { headers })).status;
  const download = () =>
    new Promise<IncomingMessage>((resolve) => {
      http.get(`${pair.api()}/${big.narUrl}`, resolve);
    });

  it('is reported by the hash of its bytes', async () => {
    const { routes } = await pair.gateway.status();
    const bytes = await readFile(pair.gateway.tableFile);
    assert.deepEqual(routes, { sha256: createHash('sha256').update(bytes).digest('hex'), caches: 2 });
  });

  it('changes under load without a request that fails', async () => {
    let done = false;
    let answers = 0;
    const check = async (response: Response) => {
      await response.arrayBuffer();
      assert.equal(response.status, 200);
      answers++;
    };
    const headers = { ...(await pair.main.auth()), 'content-type': 'application/json' };
    const readers = Array.from({ length: 6 }, async () => {
      while (!done) await check(await fetch(`${pair.api()}/nix-cache-info`));
    });
    const pushers = Array.from({ length: 2 }, async () => {
      while (!done) await check(await fetch(`${pair.api()}/narinfo`, { method: 'POST', headers, body: '[]' }));
    });
    const { caches, ...rest } = await pair.table();
    for (let turn = 0; turn < 20; turn++) {
      const more = { [`more-${turn}`]: { url: 'http://127.0.0.1:1' } };
      await pair.gateway.useTable({ ...rest, caches: turn % 2 === 0 ? { ...caches, ...more } : caches });
    }
    done = true;
    await Promise.all([...readers, ...pushers]);
    assert.ok(answers > 100);
  });

  it('lets what runs finish when a cache leaves it, and gives nothing more to that cache', async () => {
    const response = await download();
    await new Promise<void>((resolve) => response.once('readable', () => resolve()));
    const { caches, ...rest } = await pair.table();
    const { main: _, ...others } = caches;
    await pair.gateway.useTable({ ...rest, caches: others });
    assert.equal(await status('/api/v1/cache/main'), 401);
    assert.ok((await bodyOf(response)).equals(big.file));
  });

  it('lets what runs finish when servers move, and asks the new ones from then on', async () => {
    const upstream = await Upstream.start();
    const response = await download();
    const { caches, ...rest } = await pair.table();
    await pair.gateway.useTable({ ...rest, caches: { ...caches, main: { url: upstream.url } } });
    assert.equal(await status('/api/v1/cache/main'), 200);
    assert.equal(upstream.seen.length, 1);
    assert.ok((await bodyOf(response)).equals(big.file));
    await upstream.close();
  });

  for (const [what, text, reason] of [
    ['is no JSON', '{', /^routes\.json is not JSON$/],
    ['is empty', '', /^routes\.json is not JSON$/],
    ['lacks the API URL', '{"caches": {}}', /^apiUrl: is missing$/],
    [
      'has a URL that is none',
      '{"apiUrl": "http://x", "caches": {"main": {"url": "ftp://x"}}}',
      /^caches\.main\.url: /,
    ],
    ['has an API URL with a path', '{"apiUrl": "http://x/y", "caches": {}}', /^apiUrl: give the host only/],
  ] as const) {
    it(`stays as it was when the new one ${what}`, async () => {
      const before = (await pair.gateway.status()).routes;
      await pair.gateway.writeText(text);
      await until('it is said', async () => reason.test((await pair.gateway.status()).error ?? ''));
      assert.deepEqual((await pair.gateway.status()).routes, before);
      assert.equal(await status('/api/v1/cache/main'), 200);
      assert.equal((await fetch(`${pair.gateway.adminUrl}/readyz`)).status, 200);
    });
  }

  it('may hold words of a newer operator', async () => {
    const { caches, ...rest } = await pair.table();
    const text = JSON.stringify({ ...rest, caches, weights: { main: 1 } });
    await pair.gateway.writeText(text);
    await until(
      'it runs',
      async () => (await pair.gateway.status()).routes?.sha256 === createHash('sha256').update(text).digest('hex'),
    );
  });
});

describe('a gateway', () => {
  it('is not ready before its first table, and says so', async () => {
    const gateway = await TestGateway.start({ table: { caches: {} } });
    try {
      await rm(gateway.tableFile);
      const second = await TestGateway.start({ table: { caches: {} }, routes: `file:${gateway.tableFile}` });
      try {
        const { status, headers, text } = await send(second.url, '/nix-cache-info');
        assert.deepEqual([status, headers['retry-after'], text], [503, '1', 'starting; try again in a moment\n']);
        assert.equal((await fetch(`${second.adminUrl}/readyz`)).status, 503);
        assert.equal((await fetch(`${second.adminUrl}/livez`)).status, 200);
        assert.deepEqual((await second.status()).routes, null);
        await gateway.writeTable({ caches: {} });
        await second.isReady();
      } finally {
        await second.remove();
      }
    } finally {
      await gateway.remove();
    }
  });

  it('finishes downloads and uploads when it is told to stop, and takes new connections a while longer', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const upstream = await Upstream.start(async (request, response) => {
      if (request.method === 'PUT') {
        response.end(String((await bodyOf(request)).length));
        return;
      }
      response.write('first ');
      await promise;
      response.end('last');
    });
    const gateway = await TestGateway.start({
      table: { caches: { main: { url: upstream.url } } },
      args: ['--shutdown-delay', '1'],
    });
    try {
      const base = { host: '127.0.0.1', port: gateway.port, path: '/api/v1/cache/main/x' };
      const agent = new http.Agent({ keepAlive: true });
      const response = await new Promise<IncomingMessage>((resolve) => http.get({ ...base, agent }, resolve));
      const put = http.request({ ...base, agent, method: 'PUT' });
      const answer = new Promise<IncomingMessage>((resolve) => put.once('response', resolve));
      put.write('ab');
      await until('both run', () => upstream.seen.length === 2);
      const ended = gateway.stop();
      await until('it is not ready', async () => (await fetch(`${gateway.adminUrl}/readyz`)).status === 503);
      assert.equal((await send(gateway.url, '/api/v1/cache/main/y', { method: 'PUT', body: 'late' })).status, 200);
      const refused = () =>
        send(gateway.url, '/api/v1/cache/nobody').then(
          () => false,
          () => true,
        );
      await until('it listens no longer', refused);
      put.end('cd');
      const put2 = await answer;
      assert.equal(put2.headers.connection, 'close');
      assert.equal((await bodyOf(put2)).toString(), '4');
      resolve();
      assert.equal((await bodyOf(response)).toString(), 'first last');
      assert.equal(await ended, 0);
      agent.destroy();
    } finally {
      await gateway.remove();
      await upstream.close();
    }
  });

  it('cuts what does not end in time', async () => {
    const upstream = await Upstream.start((_, response) => void response.write('for ever'));
    const gateway = await TestGateway.start({
      table: { caches: { main: { url: upstream.url } } },
      args: ['--shutdown-grace', '0.5'],
    });
    try {
      const response = await new Promise<IncomingMessage>((resolve) => {
        http.get(`${gateway.url}/api/v1/cache/main/x`, resolve);
      });
      const failed = new Promise((resolve) => response.once('error', resolve));
      response.resume();
      assert.equal(await gateway.stop(), 0);
      await failed;
    } finally {
      await gateway.remove();
      await upstream.close();
    }
  });
});
