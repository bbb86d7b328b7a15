import assert from 'node:assert/strict';
import fc from 'fast-check';
import { desired } from '../../../operator/cache/desired.ts';
import type { Cache } from '../../../operator/cache/types.ts';
import { decideNames, type Holder } from '../../../operator/gateway/names.ts';
import { routingTable } from '../../../operator/gateway/table.ts';
import type { ConfigMap } from '../../../operator/runtime/index.ts';
import { liveOf } from '../../support/live-object.ts';
import { cacheOf, inputsOf } from '../../support/operator-fixtures.ts';

/** A cache that was created in a second. */
function cacheIn(namespace: string, name = 'main', second = 0): Cache {
  const creationTimestamp = `2030-01-01T00:00:${String(second).padStart(2, '0')}Z`;
  return cacheOf({}, { name, namespace, creationTimestamp });
}

/** Of each cache, by `namespace/name`. */
function holdersOf(caches: readonly Cache[], records = {}, allowed: readonly string[] = []): Record<string, Holder> {
  return Object.fromEntries(decideNames(records, caches, allowed).holders);
}

describe('the public name of caches', () => {
  it('belongs to the oldest', () => {
    const caches = [cacheIn('young', 'main', 2), cacheIn('old', 'main', 1), cacheIn('middle', 'main', 1)];
    assert.deepEqual(holdersOf(caches.slice(0, 2)), { 'old/main': 'this cache', 'young/main': { namespace: 'old' } });
    assert.equal(holdersOf(caches)['middle/main'], 'this cache');
  });

  it('belongs to the first namespace by name, of two of one second', () => {
    const caches = [cacheIn('b'), cacheIn('a')];
    assert.deepEqual(holdersOf(caches), { 'a/main': 'this cache', 'b/main': { namespace: 'a' } });
  });

  it('stays where it was recorded, for an older cache too', () => {
    const caches = [cacheIn('old', 'main', 1), cacheIn('young', 'main', 2)];
    assert.deepEqual(holdersOf(caches, { main: 'young' }), {
      'old/main': { namespace: 'young' },
      'young/main': 'this cache',
    });
  });

  it('stays bound to its namespace when the cache is gone, until somebody releases it', () => {
    const { records } = decideNames({}, [cacheIn('a')], []);
    assert.deepEqual(records, { main: 'a' });
    const later = decideNames(records, [cacheIn('b')], []);
    assert.deepEqual(later.records, { main: 'a' });
    assert.deepEqual(later.holders.get('b/main'), { namespace: 'a' });
    assert.equal(decideNames({}, [cacheIn('b')], []).holders.get('b/main'), 'this cache');
  });

  it('is nobody’s in a namespace that may have none, which takes it from nobody either', () => {
    const caches = [cacheIn('outside', 'main', 1), cacheIn('inside', 'main', 2)];
    assert.deepEqual(holdersOf(caches, {}, ['inside']), { 'outside/main': 'nobody', 'inside/main': 'this cache' });
    assert.deepEqual(decideNames({}, caches, ['inside']).records, { main: 'inside' });
  });

  it('stays recorded for a namespace that may have none any more', () => {
    const { records, holders } = decideNames({ main: 'outside' }, [cacheIn('outside'), cacheIn('inside')], ['inside']);
    assert.deepEqual(records, { main: 'outside' });
    assert.deepEqual(Object.fromEntries(holders), {
      'outside/main': 'nobody',
      'inside/main': { namespace: 'outside' },
    });
  });

  it('may be a word that JavaScript has a use for', () => {
    const { records, holders } = decideNames({}, [cacheIn('a', 'constructor')], []);
    assert.deepEqual(records, { constructor: 'a' });
    assert.equal(holders.get('a/constructor'), 'this cache');
  });

  const place = fc.record({
    namespace: fc.constantFrom('a', 'b', 'c'),
    name: fc.constantFrom('main', 'other'),
    second: fc.nat({ max: 2 }),
  });
  const caches = fc
    .uniqueArray(place, { selector: ({ namespace, name }) => `${namespace}/${name}`, maxLength: 6 })
    .map((places) => places.map(({ namespace, name, second }) => cacheIn(namespace, name, second)));
  const records = fc.dictionary(fc.constantFrom('main', 'other', 'gone'), fc.constantFrom('a', 'b', 'z'), {
    noNullPrototype: true,
  });
  const allowed = fc.subarray(['a', 'b']);

  it('is decided alike in whatever order the caches are looked at, and once for all', () => {
    fc.assert(
      fc.property(caches, records, allowed, fc.func(fc.integer()), (list, known, few, order) => {
        const one = decideNames(known, list, few);
        const shuffled = list.toSorted((a, b) => order(a.metadata) - order(b.metadata));
        assert.deepEqual(decideNames(known, shuffled, few), one);
        assert.deepEqual(decideNames(one.records, list, few), one);
      }),
    );
  });

  it('belongs to one cache at most, of the namespace that is recorded; no record is changed', () => {
    fc.assert(
      fc.property(caches, records, allowed, (list, known, few) => {
        const { records: next, holders } = decideNames(known, list, few);
        for (const [name, namespace] of Object.entries(known)) assert.equal(next[name], namespace);
        for (const { metadata } of list) {
          const { name, namespace = '' } = metadata;
          const holder = holders.get(`${namespace}/${name}`);
          assert.equal(holder === 'nobody', few.length > 0 && !few.includes(namespace));
          if (holder !== 'nobody') assert.equal(holder === 'this cache', next[name] === namespace);
        }
      }),
    );
  });
});

describe('the routing table of the gateway', () => {
  const sha256 = 'ab'.repeat(32);
  const cache = (namespace: string, name: string): Cache =>
    cacheOf({ tokens: [{ name: 'ci', permissions: ['Read'], sha256 }] }, { namespace, name });
  const all = [cache('team', 'main'), cache('team', 'big'), cache('other', 'main'), cache('other', 'new')];
  const holders = new Map<string, Holder>([
    ['team/main', 'this cache'],
    ['team/big', 'this cache'],
    ['other/main', { namespace: 'team' }],
    ['other/new', 'nobody'],
  ]);
  const configOf = (namespace: string, name: string): ConfigMap | undefined => {
    const owner = all.find(({ metadata }) => metadata.namespace === namespace && name === `${metadata.name}-config`);
    const made = owner && desired(owner, inputsOf()).find(({ kind }) => kind === 'ConfigMap');
    return made && (liveOf(made) as ConfigMap);
  };

  it('leads from each public name to the Service of its cache, and from tokens to their cache', () => {
    const route = (url: string) => ({ url, tokens: [sha256.slice(0, 16)] });
    assert.deepEqual(routingTable('https://cache.example.org', all, holders, configOf), {
      apiUrl: 'https://cache.example.org',
      aliases: [],
      caches: { big: route('http://big.team.svc'), main: route('http://main.team.svc') },
    });
  });

  it('is the same text in whatever order the caches come: gateways tell its hash', () => {
    const text = (caches: Cache[]) => JSON.stringify(routingTable('https://a.b', caches, holders, configOf));
    assert.equal(text(all.toReversed()), text(all));
    assert.ok(text(all).indexOf('"big"') < text(all).indexOf('"main"'));
  });

  it('lacks a cache whose ConfigMap is not there yet: it has no pods either', () => {
    const { caches } = routingTable('https://a.b', all, holders, (_, name) =>
      name === 'main-config' ? undefined : configOf('team', name),
    );
    assert.deepEqual(Object.keys(caches), ['big']);
  });

  it('has no token where a cache has none', () => {
    const plain = cacheOf({}, { namespace: 'team', name: 'main' });
    const made = desired(plain, inputsOf()).find(({ kind }) => kind === 'ConfigMap');
    assert.ok(made);
    const { caches } = routingTable('https://a.b', [plain], holders, () => liveOf(made) as ConfigMap);
    assert.deepEqual(caches.main?.tokens, []);
  });
});
