import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { parseRoutingTable, type RoutingTableError } from '../../../crds/index.ts';
import { Routes } from '../../../server/gateway/routes.ts';

const digits = (token: string) => createHash('sha256').update(token).digest('hex').slice(0, 16);
const cache = (...tokens: readonly string[]) => ({ url: 'http://x.team.svc:80', tokens: tokens.map(digits) });
const routesOf = (caches: object, more: object = {}, isShared = false) =>
  new Routes(parseRoutingTable(JSON.stringify({ apiUrl: 'https://cache.example.org', caches, ...more })), isShared);

describe('the routes of a gateway', () => {
  const two = routesOf(
    { main: cache('push', 'shared'), other: cache('read', 'shared') },
    { aliases: ['alias.example.net', 'main=nix.example.com', 'other=https://pull.cache.example.org'] },
  );
  const one = routesOf({ main: cache() });
  const ask = (routes: Routes, host: string | undefined, url: string, token?: string, method = 'GET') =>
    routes.resolve({ method, url, host, authorization: token && `Bearer ${token}` });

  const rows: readonly (readonly [Routes, string | undefined, string, string])[] = [
    [two, 'main.cache.example.org', '/x', 'main'],
    [two, 'OTHER.cache.example.org.:8080', '/x?y', 'other'],
    [two, 'other.alias.example.net', '/x', 'other'],
    [two, 'nix.example.com', '/x', 'main'],
    [two, 'nix.example.com', '/api/v1/cache/other/x', 'other'],
    [two, 'pull.cache.example.org', '/x', 'other'],
    [two, 'cache.example.org', '/api/v1/cache/main', 'main'],
    [two, 'api.cache.example.org', '/api/v1/cache/main/x', 'main'],
    [two, 'main.cache.example.org', '/api/v1/cache/other/x', 'other'],
    [two, undefined, '/api/v1/cache/other/x', 'other'],
    [two, 'x', 'http://y/api/v1/cache/other/x', 'other'],
    [two, 'x', '/api/v1/cache/%6fther/x', 'other'],
    [one, 'evil.example', '/x', 'main'],
    [one, undefined, '/x', 'main'],
    [one, 'third.cache.example.org', '/x', 'main'],
  ];
  for (const [routes, host, url, name] of rows)
    it(`lead ${host ?? 'no host'}${url} to ${name}`, () => assert.equal(ask(routes, host, url), name));

  it('lead requests without a cache to that of their token', () => {
    const paths = [
      '/api/v1/user',
      '/api/v1/deploy/activate',
      '/api/v2/deploy/activate',
      '/api/v1/deploy/log/x?view=true',
      '/ws',
      '/ws-deployment',
    ];
    for (const path of paths) {
      for (const host of ['cache.example.org', 'main.cache.example.org', undefined]) {
        assert.equal(ask(two, host, path, 'push'), 'main', path);
        assert.equal(ask(two, host, path, 'read'), 'other', path);
        assert.equal(ask(two, host, path, 'shared'), 'main', path);
        for (const token of [undefined, 'nonsense'])
          assert.deepEqual(ask(two, host, path, token), { status: 401, text: 'no cache here knows this token' });
      }
    }
    assert.equal(ask(one, 'x', '/ws/x', 'push'), 'main', 'all other paths go by their address');
  });

  it('lead nowhere, in the words of a server', () => {
    const stranger = { status: 401, text: 'no such cache, or no access to it without a token that it knows' };
    assert.deepEqual(ask(two, 'x', '/api/v1/cache/third'), stranger);
    assert.deepEqual(ask(two, 'x', '/api/v1/cache/third', 'nonsense'), stranger);
    assert.deepEqual(ask(two, 'x', '/api/v1/cache/third', 'push'), stranger);
    assert.deepEqual(ask(two, 'x', '/x'), { status: 404, text: 'no such cache' });
    assert.deepEqual(ask(two, 'third.cache.example.org', '/x'), { status: 404, text: 'not found' });
    assert.deepEqual(ask(two, 'x', '/x', undefined, 'DELETE'), { status: 405, text: 'DELETE is not possible here' });
    assert.deepEqual(ask(two, 'main.cache.example.org', '/a/../b'), { status: 404, text: 'not found' });
    for (const name of ['__proto__', 'constructor', 'toString', ''])
      assert.deepEqual(ask(two, 'x', `/api/v1/cache/${name}`), stranger, name);
  });

  it('lead what names no cache nowhere, where caches have several owners: the only one now may be a stranger', () => {
    const shared = routesOf({ main: cache('push') }, {}, true);
    for (const host of ['evil.example', undefined, 'cache.example.org'])
      assert.deepEqual(ask(shared, host, '/x'), { status: 404, text: 'no such cache' });
    assert.deepEqual(ask(shared, 'gone.cache.example.org', '/x'), { status: 404, text: 'not found' });
    assert.equal(ask(shared, 'main.cache.example.org', '/x'), 'main');
    assert.equal(ask(shared, 'x', '/ws', 'push'), 'main');
  });

  it('lead to a cache of the table or nowhere, whatever is asked', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (host, path, authorization) => {
        const found = two.resolve({ method: 'GET', url: `/${path}`, host, authorization });
        assert.ok(typeof found !== 'string' || ['main', 'other'].includes(found));
      }),
    );
  });
});

describe('a routing table', () => {
  const fails = (value: unknown, message: RegExp) =>
    assert.throws(
      () => parseRoutingTable(typeof value === 'string' ? value : JSON.stringify(value)),
      (error: RoutingTableError) => {
        assert.equal(error.name, 'RoutingTableError');
        assert.match(error.message, message);
        return true;
      },
    );
  const apiUrl = 'http://x';

  it('fills in what may be left out, and keeps what it does not know', () => {
    const table = parseRoutingTable(
      JSON.stringify({ apiUrl, later: 1, caches: { main: { url: 'http://x:80', new: 2 } } }),
    );
    assert.deepEqual(table.aliases, []);
    assert.deepEqual(table.caches.main?.tokens, []);
    assert.equal(Reflect.get(table, 'later'), 1);
  });

  it('says what is wrong with it', () => {
    fails('', /^routes\.json is not JSON$/);
    fails([], /^routes\.json: must be a mapping/);
    fails({ caches: {} }, /^apiUrl: is missing/);
    fails({ apiUrl }, /^caches: is missing/);
    fails({ apiUrl, caches: { main: {} } }, /^caches\.main\.url: is missing/);
    for (const url of ['https://x', 'x:80', 'http://x/path', 'http://u@x', 'http://x:80?q', 'http://'])
      fails({ apiUrl, caches: { main: { url } } }, /^caches\.main\.url: must be a URL of the form/);
    fails({ apiUrl, caches: { main: { url: 'http://x', tokens: ['ABC'] } } }, /tokens\[0\]: must be 16 hex digits/);
    fails({ apiUrl, caches: { 'no.label': { url: 'http://x' } } }, /^caches: a cache is not called "no\.label"$/);
  });
});
