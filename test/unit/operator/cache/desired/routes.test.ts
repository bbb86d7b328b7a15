import assert from 'node:assert/strict';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import { admitRoutes, type HostRule, type RouteRules } from '../../../../../operator/cache/desired/routes.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf } from '../../../../support/operator-fixtures.ts';

const rulesOf = (more: Partial<RouteRules> = {}): RouteRules => ({
  hosts: [{ namespace: 'team', host: 'nix.example.org' }],
  annotations: [],
  gatewayHost: 'cache.example.org',
  ...more,
});
const allowed = (...hosts: string[]): RouteRules =>
  rulesOf({ hosts: hosts.map((host): HostRule => ({ namespace: 'team', host })) });

/** Reasons of what is refused. */
const refusals = (spec: Value, rules: RouteRules) =>
  admitRoutes(cacheOf(spec), rules).refused.map(({ reason }) => reason);
const kindsOf = (spec: Value, rules: RouteRules) =>
  desired(admitRoutes(cacheOf(spec), rules).cache, inputsOf()).map(({ kind }) => kind);
const ingress = (host: string, annotations?: Record<string, string>): Value => ({
  ingress: { host, ...(annotations && { annotations }) },
});

describe('the hosts that a cache may take', () => {
  it('are none where nobody says so', () => {
    const cache = cacheOf(ingress('nix.example.org'));
    const { cache: admitted, refused } = admitRoutes(cache, rulesOf({ hosts: [] }));
    assert.equal(admitted.spec.ingress, undefined);
    assert.deepEqual(refused, [
      {
        reason: 'HostNotAllowed',
        message:
          'host nix.example.org is not allowed to caches of the namespace team: name another, or have an administrator list it in caches.hosts of the chart',
      },
    ]);
  });

  for (const [pattern, taken, refused] of [
    ['nix.example.org', ['nix.example.org'], ['a.nix.example.org', 'example.org', 'xnix.example.org', '*.example.org']],
    [
      '*.example.org',
      ['nix.example.org', 'a.b.example.org', '*.example.org'],
      ['example.org', 'notexample.org', '*.org'],
    ],
    ['*.{namespace}.org', ['nix.team.org'], ['nix.other.org', 'team.org']],
    ['*', ['anything.at.all', '*.org'], []],
  ] as const)
    it(`are told by ${pattern}`, () => {
      for (const host of taken) assert.deepEqual(refusals(ingress(host), allowed(pattern)), [], host);
      for (const host of refused) assert.deepEqual(refusals(ingress(host), allowed(pattern)), ['HostNotAllowed'], host);
    });

  it('are those of its own namespace, and of every one', () => {
    const others = { hosts: [{ namespace: 'other', host: '*' }] };
    assert.deepEqual(refusals(ingress('nix.example.org'), rulesOf(others)), ['HostNotAllowed']);
    const every = { hosts: [{ namespace: '*', host: 'nix.example.org' }] };
    assert.deepEqual(refusals(ingress('nix.example.org'), rulesOf(every)), []);
  });

  it('are never those of the gateway, whose names belong to other caches', () => {
    for (const host of [
      'cache.example.org',
      'main.cache.example.org',
      '*.cache.example.org',
      'a.b.cache.example.org',
    ]) {
      const [refused] = admitRoutes(cacheOf(ingress(host)), allowed('*', host)).refused;
      assert.match(refused?.message ?? '', /belongs to the gateway/, host);
    }
    assert.deepEqual(refusals(ingress('mycache.example.org'), allowed('*')), []);
    assert.deepEqual(refusals(ingress('main.cache.example.org'), { ...allowed('*'), gatewayHost: undefined }), []);
  });

  it('leave an HTTPRoute with the others of its hosts, and none without any: it would take all', () => {
    const route = (...hostnames: string[]): Value => ({ httpRoute: { hostnames, parentRefs: [{ name: 'gw' }] } });
    const { cache, refused } = admitRoutes(cacheOf(route('nix.example.org', 'bank.example.org')), rulesOf());
    assert.deepEqual(cache.spec.httpRoute?.hostnames, ['nix.example.org']);
    assert.deepEqual(refused.length, 1);
    assert.ok(!kindsOf(route('bank.example.org'), rulesOf()).includes('HTTPRoute'));
  });

  it('change nothing else of a cache', () => {
    const rest = kindsOf({}, rulesOf());
    assert.deepEqual(kindsOf(ingress('bank.example.org'), rulesOf()), rest);
    assert.deepEqual(kindsOf(ingress('nix.example.org'), rulesOf()).sort(), [...rest, 'Ingress'].sort());
  });
});

describe('the annotations of a cache’s Ingress', () => {
  const SNIPPET = 'nginx.ingress.kubernetes.io/configuration-snippet';
  const SIZE = 'nginx.ingress.kubernetes.io/proxy-body-size';
  const said = (annotations: Record<string, string>, ...list: string[]) =>
    refusals(ingress('nix.example.org', annotations), rulesOf({ annotations: list }));

  it('are those of the list', () => {
    assert.deepEqual(said({ [SIZE]: '0' }, SIZE), []);
    assert.deepEqual(said({ [SIZE]: '0' }), ['AnnotationNotAllowed']);
    assert.deepEqual(said({ [SNIPPET]: 'return' }, SIZE), ['AnnotationNotAllowed']);
    assert.deepEqual(said({ [`x-${SIZE}`]: '0', [`${SIZE}-x`]: '0' }, SIZE).length, 2);
    assert.deepEqual(said({ 'alb.ingress.kubernetes.io/scheme': 'internal' }, 'alb.ingress.kubernetes.io/*'), []);
  });

  it('have one plain word as their value, unless the list takes any', () => {
    for (const value of ['0; } location /x { return 200;', 'a\nb', 'a b', '"', '#', '$host', '{', "it's"]) {
      assert.deepEqual(said({ [SIZE]: value }, SIZE), ['AnnotationNotAllowed'], value);
      assert.deepEqual(said({ [SIZE]: value }, `${SIZE}=*`), [], value);
    }
    for (const value of ['', '0', '8g', 'off', 'https://example.org/a', 'letsencrypt-prod'])
      assert.deepEqual(said({ [SIZE]: value }, SIZE), [], value);
  });

  it('are not dropped from an Ingress that stays: one may be what keeps strangers out', () => {
    const spec = ingress('nix.example.org', { 'example.org/only-from': '10.0.0.0/8' });
    assert.ok(!kindsOf(spec, rulesOf()).includes('Ingress'));
  });
});
