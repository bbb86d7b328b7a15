import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { BinaryCache, Caches } from '../../../server/cache/index.ts';
import { Front } from '../../../server/http/front.ts';
import { parseRange } from '../../../server/http/range.ts';
import { Urls } from '../../../server/http/urls.ts';
import { decodePath, hostnameOf, tokenOf } from '../../../server/wire/index.ts';
import { cacheOf } from '../../support/operator-fixtures.ts';

describe('a request path', () => {
  it('is decoded once', () => {
    const decoded = {
      '/a%2Bb': '/a+b',
      '/a+b': '/a+b',
      '/a%20b': '/a b',
      '/%252e': '/%2e',
      '//a//b': '/a/b',
      '/ü': '/ü',
    };
    for (const [raw, path] of Object.entries(decoded)) assert.equal(decodePath(raw), path, raw);
  });

  it('is refused where it leaves its folder, in any spelling', () => {
    const attacks = [
      '/..',
      '/../etc/passwd',
      '/nar/../../etc/passwd',
      '/nar/%2e%2e/%2e%2e/etc/passwd',
      '/nar/.%2E/root.key',
      '/nar/..%2f..%2froot.key',
      '/nar/%2e',
      '/./a',
      '/a\\..\\b',
      '/a%5cb',
      '/a%00.narinfo',
      '/%zz',
      '/%',
      '/%c0%ae%c0%ae/',
      '',
      'a',
      '*',
    ];
    for (const raw of attacks) assert.equal(decodePath(raw), undefined, raw);
  });

  it('never keeps a dot segment, a NUL or a backslash', () => {
    const unit = fc.constantFrom('/', '.', '%2e', '%2E', '%2f', '%5c', '%00', '%', 'a', '\\', '%252e');
    fc.assert(
      fc.property(fc.array(unit), (units) => {
        const path = decodePath(`/${units.join('')}`);
        if (path === undefined) return;
        assert.doesNotMatch(path, /\0|\\|\/\/|(?:^|\/)\.{1,2}(?:\/|$)/);
      }),
    );
  });
});

/** Caches by name only: the front asks for nothing else. */
function cachesOf(...names: readonly string[]): Caches {
  const list = names.map((name) => ({ name }) as BinaryCache);
  const named = new Map(list.map((cache) => [cache.name, cache]));
  return {
    get: (name: string) => named.get(name),
    list: () => list,
    only: list.length === 1 ? list[0] : undefined,
    generation: 0,
  } as unknown as Caches;
}

describe('the front', () => {
  const urls = new Urls('http://cache.example.org', ['alias.example.net']);
  const two = new Front({ caches: cachesOf('main', 'other'), urls });
  const one = new Front({ caches: cachesOf('main'), urls });
  const bound = new Front({ caches: cachesOf('main', 'other'), urls, bound: 'other' });

  const rows: readonly (readonly [Front, string | undefined, string, string | undefined, string])[] = [
    [two, 'main.cache.example.org', '/x', 'main', '/x'],
    [two, 'other.cache.example.org:8080', '/x', 'other', '/x'],
    [two, 'MAIN.Cache.Example.ORG.', '/x', 'main', '/x'],
    [two, 'main.alias.example.net', '/x', 'main', '/x'],
    [two, 'cache.example.org', '/x', undefined, '/x'],
    [two, 'third.cache.example.org', '/x', undefined, '/x'],
    [two, 'main.example.org', '/x', undefined, '/x'],
    [two, 'evil.org', '/x', undefined, '/x'],
    [two, undefined, '/x', undefined, '/x'],
    [two, 'evil.org', '/api/v1/cache/main/x', 'main', '/x'],
    [two, 'main.cache.example.org', '/api/v1/cache/other/x', 'other', '/x'],
    [two, 'cache.example.org', '/api/v1/cache/main', 'main', '/'],
    [two, 'cache.example.org', '/api/v1/cache/third/x', undefined, '/x'],
    [two, 'cache.example.org', '/api/v1/cache//x', undefined, '/x'],
    [one, 'evil.org', '/x', 'main', '/x'],
    [one, undefined, '/x', 'main', '/x'],
    [one, 'third.cache.example.org', '/x', 'main', '/x'],
    [bound, 'main.cache.example.org', '/x', 'other', '/x'],
    [bound, 'cache.example.org', '/api/v1/cache/other/x', 'other', '/x'],
    [bound, 'cache.example.org', '/api/v1/cache/main/x', undefined, '/x'],
  ];
  for (const [front, host, path, cache, inside] of rows) {
    const kind = front === bound ? 'bound to other' : front === one ? 'one cache' : 'two caches';
    it(`maps ${host ?? 'no host'}${path} to ${cache ?? 'no cache'} (${kind})`, () => {
      const target = front.resolve(host, path);
      assert.equal(target.cache?.name, cache);
      assert.equal(target.path, inside);
      // Remembered, and still the same.
      assert.equal(front.resolve(host, path).cache?.name, cache);
    });
  }

  it('reads a host without its port and case', () => {
    assert.equal(hostnameOf('Main.Localhost:8080'), 'main.localhost');
    assert.equal(hostnameOf('[::1]:8080'), '[::1]');
  });

  it('never builds a URL out of a foreign host', () => {
    fc.assert(
      fc.property(fc.string(), (host) => {
        assert.equal(urls.api(host), 'http://cache.example.org');
      }),
    );
    assert.equal(urls.cache('main', 'main.alias.example.net'), 'http://main.alias.example.net');
  });
});

describe('a byte range', () => {
  const rows: readonly (readonly [string | undefined, ReturnType<typeof parseRange>])[] = [
    [undefined, undefined],
    ['bytes=0-', { start: 0, end: 99 }],
    ['bytes=0-0', { start: 0, end: 0 }],
    ['bytes=99-', { start: 99, end: 99 }],
    ['bytes=10-19', { start: 10, end: 19 }],
    ['bytes=10-1000', { start: 10, end: 99 }],
    ['bytes=-1', { start: 99, end: 99 }],
    ['bytes=-1000', { start: 0, end: 99 }],
    ['bytes=100-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=20-10', undefined],
    ['bytes=-', undefined],
    ['bytes=', undefined],
    ['bytes=0-1,5-6', undefined],
    ['items=0-1', undefined],
    ['bytes=a-b', undefined],
    ['bytes=0x1-', undefined],
    [`bytes=${'9'.repeat(30)}-`, undefined],
  ];
  for (const [header, range] of rows) {
    it(`is read from ${header} of 100 bytes as ${JSON.stringify(range)}`, () => {
      assert.deepEqual(parseRange(header, 100), range);
    });
  }

  it('lies inside the object whenever there is one', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat({ max: 1000 }), (first, last, size) => {
        for (const header of [`bytes=${first}-${last}`, `bytes=${first}-`, `bytes=-${last}`]) {
          const range = parseRange(header, size);
          if (range === undefined || range === 'unsatisfiable') continue;
          assert.ok(0 <= range.start && range.start <= range.end && range.end < size, header);
        }
      }),
    );
  });
});

describe('the hosts that manifests name', () => {
  it('lead to their caches from then on, also those that were asked for before', () => {
    const urls = new Urls('http://cache.example.org');
    const front = new Front({ caches: cachesOf('main', 'other'), urls });
    const named = (host: string) => [{ metadata: { name: 'main' }, spec: cacheOf({ ingress: { host } }).spec }];
    assert.equal(front.byHost('nix.example.com').cache, undefined);
    urls.useHosts(named('nix.example.com'));
    assert.equal(front.byHost('nix.example.com').cache?.name, 'main');
    urls.useHosts(named('new.example.com'));
    assert.equal(front.byHost('nix.example.com').cache, undefined);
  });
});

describe('the URLs that are handed out', () => {
  it('are those of the only cache where the API host is its own', () => {
    const urls = new Urls('http://main.team.svc', ['main=http://main.team.svc', 'main=https://pull.example.org']);
    assert.equal(urls.cache('main'), 'http://main.team.svc');
    assert.equal(urls.cache('main', 'pull.example.org'), 'https://pull.example.org');
    assert.equal(urls.api(), 'http://main.team.svc');
  });
});

describe('a credential', () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  const rows: readonly (readonly [string | undefined, string | undefined])[] = [
    [undefined, undefined],
    ['', undefined],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearer it', 'it'],
    ['bearer  it ', 'it'],
    ['Token it', undefined],
    [basic('anybody:it'), 'it'],
    [basic(':it'), 'it'],
    [basic('a:it:with:colons'), 'it:with:colons'],
    [basic('a:'), undefined],
    [basic('a'), undefined],
    ['Basic !!!', undefined],
  ];
  for (const [header, token] of rows) {
    it(`is ${token ?? 'nothing'} in ${JSON.stringify(header)}`, () => assert.equal(tokenOf(header), token));
  }
});
