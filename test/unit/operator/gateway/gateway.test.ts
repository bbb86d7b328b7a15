import assert from 'node:assert/strict';
import fc from 'fast-check';
import { hashOfText } from '../../../../crds/index.ts';
import { desired } from '../../../../operator/cache/desired/desired.ts';
import { isClientService } from '../../../../operator/cache/desired/services.ts';
import type { Cache } from '../../../../operator/cache/types.ts';
import { formatClaims, MOST_NAMES, MOST_TOKENS } from '../../../../operator/gateway/claim-texts.ts';
import type { AllClaims } from '../../../../operator/gateway/claims.ts';
import { decideNames, type Holder, type NameRules } from '../../../../operator/gateway/names.ts';
import { withOldRecords } from '../../../../operator/gateway/old-records.ts';
import { routingShards } from '../../../../operator/gateway/table.ts';
import { decideTokens, digitsIn } from '../../../../operator/gateway/tokens.ts';
import type { ConfigMap, Desired, Service } from '../../../../operator/runtime/index.ts';
import { liveOf } from '../../../support/live-object.ts';
import { cacheOf, inputsOf } from '../../../support/operator-fixtures.ts';

/** A cache that was created in a second. */
function cacheIn(namespace: string, name = 'main', second = 0): Cache {
  const creationTimestamp = `2030-01-01T00:00:${String(second).padStart(2, '0')}Z`;
  return cacheOf({}, { name, namespace, creationTimestamp });
}

/** Of each name, the namespace that it is recorded for. */
type Records = Readonly<Record<string, string>>;

const RULES: NameRules = { nowMs: 9000, most: 100, releaseMs: undefined, allowed: [] };

function claimsOf(records: Records): AllClaims {
  const claims = new Map<string, Map<string, { sinceMs: number }>>();
  for (const [name, namespace] of Object.entries(records))
    claims.set(namespace, (claims.get(namespace) ?? new Map()).set(name, { sinceMs: 1000 }));
  return claims;
}

function recordsIn(claims: AllClaims): Records {
  return Object.fromEntries(
    [...claims].flatMap(([namespace, own]) => [...own.keys()].map((name) => [name, namespace])).sort(),
  );
}

function decide(records: Records, caches: readonly Cache[], rules: Partial<NameRules> = {}) {
  const { claims, holders } = decideNames(claimsOf(records), caches, { ...RULES, ...rules });
  return { records: recordsIn(claims), holders };
}

/** Of each cache, by `namespace/name`. */
function holdersOf(caches: readonly Cache[], records: Records = {}): Record<string, Holder> {
  return Object.fromEntries(decide(records, caches).holders);
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
    const { records } = decide({}, [cacheIn('a')]);
    assert.deepEqual(records, { main: 'a' });
    const later = decide(records, [cacheIn('b')]);
    assert.deepEqual(later.records, { main: 'a' });
    assert.deepEqual(later.holders.get('b/main'), { namespace: 'a' });
    assert.equal(decide({}, [cacheIn('b')]).holders.get('b/main'), 'this cache');
  });

  it('is nobody’s in a namespace that may have none, which takes it from nobody either', () => {
    const caches = [cacheIn('outside', 'main', 1), cacheIn('inside', 'main', 2)];
    const { records, holders } = decide({}, caches, { allowed: ['inside'] });
    assert.deepEqual(Object.fromEntries(holders), { 'outside/main': 'nobody', 'inside/main': 'this cache' });
    assert.deepEqual(records, { main: 'inside' });
  });

  it('stays recorded for a namespace that may have none any more', () => {
    const { records, holders } = decide({ main: 'outside' }, [cacheIn('outside'), cacheIn('inside')], {
      allowed: ['inside'],
    });
    assert.deepEqual(records, { main: 'outside' });
    assert.deepEqual(Object.fromEntries(holders), {
      'outside/main': 'nobody',
      'inside/main': { namespace: 'outside' },
    });
  });

  it('may be a word that JavaScript has a use for', () => {
    const { records, holders } = decide({}, [cacheIn('a', 'constructor')]);
    assert.deepEqual(records, { constructor: 'a' });
    assert.equal(holders.get('a/constructor'), 'this cache');
  });

  it('is refused to a namespace that has as many as it may, those of caches that are gone among them', () => {
    const caches = [cacheIn('a', 'new'), cacheIn('b', 'new', 1), cacheIn('a', 'main')];
    const { records, holders } = decide({ main: 'a', gone: 'a' }, caches, { most: 2 });
    assert.deepEqual(Object.fromEntries(holders), {
      'a/new': { namespace: 'b' },
      'b/new': 'this cache',
      'a/main': 'this cache',
    });
    assert.deepEqual(records, { main: 'a', gone: 'a', new: 'b' });
    assert.equal(decide(records, [cacheIn('a', 'newer')], { most: 2 }).holders.get('a/newer'), 'full');
  });

  it('is free after a time without a cache, where there is a time', () => {
    const { claims } = decideNames(claimsOf({ main: 'a' }), [], RULES);
    const later = (releaseMs: number | undefined) =>
      decideNames(claims, [cacheIn('b')], { ...RULES, nowMs: 19_000, releaseMs }).holders.get('b/main');
    assert.deepEqual(
      [later(undefined), later(10_001), later(10_000)],
      [{ namespace: 'a' }, { namespace: 'a' }, 'this cache'],
    );
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
        const one = decide(known, list, { allowed: few });
        const shuffled = list.toSorted((a, b) => order(a.metadata) - order(b.metadata));
        assert.deepEqual(decide(known, shuffled, { allowed: few }).records, one.records);
        assert.deepEqual(
          Object.fromEntries(decide(known, shuffled, { allowed: few }).holders),
          Object.fromEntries(one.holders),
        );
        assert.deepEqual(decide(one.records, list, { allowed: few }), one);
      }),
    );
  });

  it('belongs to one cache at most, of the namespace that is recorded; no record is changed', () => {
    fc.assert(
      fc.property(caches, records, allowed, (list, known, few) => {
        const { records: next, holders } = decide(known, list, { allowed: few });
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

describe('the names that an older version recorded for all namespaces', () => {
  const old = (data: Record<string, string>): ConfigMap => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'names', uid: 'u', resourceVersion: '1', creationTimestamp: '2030-01-01T00:00:00Z' },
    data,
  });
  const own = { names: new Map([['new', { sinceMs: 5 }]]), tokens: new Map() };

  it('stay with their namespaces', () => {
    const { names, old: namespaces } = withOldRecords(new Map(), old({ main: 'a', other: 'a', gone: 'b' }));
    assert.deepEqual(recordsIn(names), { gone: 'b', main: 'a', other: 'a' });
    assert.deepEqual([...namespaces], ['a', 'b']);
    assert.equal(names.get('a')?.get('main')?.sinceMs, Date.parse('2030-01-01T00:00:00Z'));
  });

  it('count no more for a namespace that has a record of its own: an administrator may have released one', () => {
    const { names } = withOldRecords(new Map([['a', own]]), old({ main: 'a', gone: 'b' }));
    assert.deepEqual(recordsIn(names), { gone: 'b', new: 'a' });
  });

  it('are passed over where they are none, and may be missing', () => {
    assert.equal(withOldRecords(new Map(), old({ 'no.name': 'a', main: 'No Namespace', x: '' })).names.size, 0);
    assert.equal(withOldRecords(new Map(), undefined).names.size, 0);
  });
});

describe('the tokens that the gateway routes by', () => {
  const rules = { nowMs: 9000, most: 3, releaseMs: 1000 };
  const [A, B] = ['a'.repeat(16), 'b'.repeat(16)];
  const refusals = (refused: ReturnType<typeof decideTokens>['refused'], key: string) =>
    Object.fromEntries(refused.get(key) ?? []);

  it('are those of the namespace that had them first, however old the cache of another is', () => {
    const [victim, attacker] = [cacheIn('victim', 'zebra', 9), cacheIn('attacker', 'aardvark', 1)];
    const { claims } = decideTokens(new Map(), new Map([[victim, [A]]]), rules);
    const digits = new Map([
      [attacker, [A, B]],
      [victim, [A]],
    ]);
    const { refused } = decideTokens(claims, digits, { ...rules, nowMs: 10_000 });
    assert.deepEqual(refusals(refused, 'attacker/aardvark'), { [A]: 'taken' });
    assert.deepEqual(refusals(refused, 'victim/zebra'), {});
    const shards = routingShards(digits, refused);
    assert.deepEqual(shards.get('attacker')?.caches.aardvark?.tokens, [B]);
    assert.deepEqual(shards.get('victim')?.caches.zebra?.tokens, [A]);
  });

  it('may be shared by the caches of one namespace', () => {
    const digits = new Map([
      [cacheIn('a', 'one'), [A]],
      [cacheIn('a', 'two'), [A]],
    ]);
    const { refused } = decideTokens(new Map(), digits, rules);
    assert.deepEqual([refusals(refused, 'a/one'), refusals(refused, 'a/two')], [{}, {}]);
  });

  it('are read out of ConfigMaps that their owners may edit: what are no digits is passed over', () => {
    const annotations = { 'narwhal.dev/token-prefixes': `${A},,x,${A.toUpperCase()},${B}0,${B},${B},"` };
    const metadata = { name: 'c', uid: 'u', resourceVersion: '1', creationTimestamp: '', annotations };
    assert.deepEqual(digitsIn({ apiVersion: 'v1', kind: 'ConfigMap', metadata }), [A, B]);
  });

  it('are no more than a manifest can list, whatever somebody has written into the ConfigMap', () => {
    const all = Array.from({ length: 10_000 }, (_, index) => index.toString(16).padStart(16, '0'));
    const annotations = { 'narwhal.dev/token-prefixes': all.toReversed().join(',') };
    const metadata = { name: 'c', uid: 'u', resourceVersion: '1', creationTimestamp: '', annotations };
    assert.deepEqual(digitsIn({ apiVersion: 'v1', kind: 'ConfigMap', metadata }), all.slice(0, 128));
  });
});

describe('the routing table of the gateway', () => {
  const sha256 = 'ab'.repeat(32);
  const cache = (namespace: string, name: string): Cache =>
    cacheOf({ tokens: [{ name: 'ci', permissions: ['Read'], sha256 }] }, { namespace, name });
  const all = [cache('team', 'main'), cache('team', 'big'), cache('other', 'new')];
  const digitsOf = (owner: Cache) => {
    const made = desired(owner, inputsOf()).find(({ kind }) => kind === 'ConfigMap');
    assert.ok(made);
    return digitsIn(liveOf(made) as ConfigMap);
  };
  const shardsOf = (caches: readonly Cache[]) =>
    routingShards(new Map(caches.map((it) => [it, digitsOf(it)])), new Map());

  it('leads from each public name to the Service of its cache, and from tokens to their cache', () => {
    const route = (url: string) => ({ url, tokens: [sha256.slice(0, 16)] });
    assert.deepEqual(Object.fromEntries(shardsOf(all)), {
      team: { caches: { big: route('http://big.team.svc'), main: route('http://main.team.svc') } },
      other: { caches: { new: route('http://new.other.svc') } },
    });
  });

  it('is the same text in whatever order the caches come: gateways tell its hash', () => {
    const hash = (caches: Cache[]) => hashOfText(JSON.stringify(shardsOf(caches).get('team')));
    assert.equal(hash(all.toReversed()), hash(all));
    assert.deepEqual(Object.keys(shardsOf(all).get('team')?.caches ?? {}), ['big', 'main']);
  });

  it('leads to no Service but the one that was made for the cache, whatever labels another carries', () => {
    const [owner] = all;
    assert.ok(owner);
    const made = liveOf(
      desired(owner, inputsOf()).find(({ kind }) => kind === 'Service') as Desired,
    ) as unknown as Service;
    assert.ok(isClientService(owner, made));
    assert.ok(!isClientService(owner, undefined));
    const astray = { ...made, spec: { type: 'ExternalName', externalName: 'inside.example.org' } };
    const { metadata } = made;
    for (const other of [
      astray,
      { ...made, metadata: { ...metadata, labels: {} } },
      { ...made, metadata: { ...metadata, ownerReferences: [] } },
    ])
      assert.ok(!isClientService(owner, other));
  });

  it('has no token where a cache has none', () => {
    const plain = cacheOf({}, { namespace: 'team', name: 'main' });
    assert.deepEqual(shardsOf([plain]).get('team')?.caches.main?.tokens, []);
  });

  it('fits into ConfigMaps, as do the claims, where a namespace has all that it may have at most', () => {
    const long = (index: number) => `${index}`.padStart(45, 'n');
    const digits = (index: number) => index.toString(16).padStart(16, '0');
    const times = { sinceMs: 1_893_456_000_000, unusedMs: 1_893_456_000_000 };
    const keys = (length: number, of: (index: number) => string) =>
      new Map(Array.from({ length }, (_, index) => [of(index), times]));
    const claims = formatClaims({ names: keys(MOST_NAMES, long), tokens: keys(MOST_TOKENS, digits) });
    const caches = Array.from({ length: MOST_NAMES }, (_, index) => cacheIn('n'.repeat(63), long(index)));
    const own = (index: number) => Array.from({ length: MOST_TOKENS / MOST_NAMES }, (_, it) => digits(index * 5 + it));
    const shard = routingShards(new Map(caches.map((it, index) => [it, own(index)])), new Map()).get('n'.repeat(63));
    const sizes = [JSON.stringify(claims), JSON.stringify(shard)].map((text) => Buffer.byteLength(text));
    for (const bytes of sizes) assert.ok(bytes < 2 ** 20, `${bytes} bytes`);
  });
});
