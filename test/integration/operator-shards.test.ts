// The gateway's table and the record of names where there are many caches, and where an older version has left its own.
import assert from 'node:assert/strict';
import { pino } from 'pino';
import { hashToken } from '../../crds/index.ts';
import { services } from '../../operator/cache/desired/services.ts';
import type { Cache } from '../../operator/cache/index.ts';
import { PublicNames } from '../../operator/gateway/index.ts';
import {
  Api,
  type ConfigMap,
  Informer,
  kinds,
  kubeConfig,
  Metrics,
  type Service,
} from '../../operator/runtime/index.ts';
import { CacheNamespace, type Found } from '../support/cache-namespace.ts';
import { TestGateway } from '../support/gateway.ts';
import { describeWith } from '../support/needs.ts';
import { cacheOf } from '../support/operator-fixtures.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const logger = pino({ enabled: false });
const API = 'https://cache.example.org';
/** Caches that differ in nothing but their names: made once, since each is held against the schema. */
const ANY = cacheOf();
const cacheIn = (namespace: string, name: string): Cache => ({
  ...ANY,
  metadata: { ...ANY.metadata, namespace, name, uid: `${namespace}-${name}` },
});
/** The ConfigMap of a cache, as far as routes follow from it. */
const configOf = (cache: string, digits: readonly string[]): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    ...ANY.metadata,
    name: `${cache}-config`,
    annotations: { 'narwhal.dev/token-prefixes': digits.join(',') },
  },
});
const digitsOf = (token: string) => hashToken(token).slice(0, 16);

describeWith('kubernetes', 'the table of the gateway', () => {
  let home: CacheNamespace;
  let api: Api;
  let stop: AbortController;
  let records: Informer<ConfigMap>;
  let running: Promise<void>;

  beforeEach(async () => {
    const kubernetes = await sharedKubernetes();
    home = await CacheNamespace.make(kubernetes, 'shards');
    stop = new AbortController();
    const metrics = new Metrics();
    api = new Api({ load: kubeConfig(kubernetes.kubeconfig), manager: 'narwhal-operator', logger, metrics });
    records = new Informer({
      ...{ api, logger, metrics, kind: kinds.ConfigMap, namespaces: [home.name] },
      labelSelector: 'app.kubernetes.io/managed-by=narwhal-operator',
    });
    running = records.run(stop.signal);
    await records.synced;
  });
  afterEach(async () => {
    stop.abort();
    await running;
    await api.close();
    await home.remove();
  });

  /** What runs in an operator, over these caches. */
  const namesOver = (caches: readonly Cache[], configs: ReadonlyMap<string, ConfigMap>) =>
    new PublicNames({
      ...{ api, logger, records, apiUrl: API, namespace: home.name, allowed: [] },
      ...{ namesConfigMap: 'narwhal-names', routesConfigMap: 'narwhal-routes' },
      ...{ mostNames: 1000, mostTokens: 10_000, releaseNamesMs: undefined, releaseTokensMs: 86_400_000 },
      caches: { all: () => caches },
      configOf: (namespace, name) => configs.get(`${namespace}/${name}`),
      serviceOf: (namespace, name) => services(cacheIn(namespace, name))[0] as unknown as Service,
      gatewayPods: { all: () => [] },
      pollMs: 1000,
      timeoutMs: 1000,
    });
  const configMaps = async (): Promise<Map<string, Found>> => {
    const { body } = await home.kubernetes.request(home.path(kinds.ConfigMap));
    return new Map((body.items as Found[]).map((it) => [it.metadata.name, it]));
  };
  const legacy = (name: string, data: Readonly<Record<string, string>>) =>
    home.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, labels: { 'app.kubernetes.io/managed-by': 'narwhal-operator' } },
      data,
    });

  it('holds 2000 caches of 128 tokens, and a change of one is written for its namespace alone', async () => {
    const [TEAMS, EACH, TOKENS] = [40, 50, 128];
    const caches: Cache[] = [];
    const configs = new Map<string, ConfigMap>();
    for (let team = 0; team < TEAMS; team++) {
      for (let index = 0; index < EACH; index++) {
        const name = `cache-${team}-${index}`;
        caches.push(cacheIn(`team-${team}`, name));
        const digits = Array.from({ length: TOKENS }, (_, token) => digitsOf(`${name} ${token}`));
        configs.set(`team-${team}/${name}-config`, configOf(name, digits));
      }
    }
    const names = namesOver(caches, configs);
    await names.reconcile(stop.signal);
    const before = await configMaps();
    assert.equal([...before.keys()].filter((name) => name.startsWith('narwhal-')).length, 2 * TEAMS + 1);
    for (const cache of caches) assert.equal(names.of(cache).holder, 'this cache');
    for (const [name, { data }] of before)
      assert.ok(Buffer.byteLength(JSON.stringify(data)) < 2 ** 19, `${name} has room for more`);
    const gateway = await TestGateway.start({
      table: { caches: {} },
      routes: `configmap:${home.name}/narwhal-routes`,
      args: ['--kubeconfig', home.kubernetes.kubeconfig],
    });
    try {
      await until('the gateway has them all', async () => (await gateway.status()).routes?.caches === TEAMS * EACH);
      // A token of a cache far down is known, though nobody is there behind it.
      const ask = async (token: string) =>
        (await send(gateway.url, '/api/v1/user', { headers: { authorization: `Bearer ${token}` } })).status;
      assert.equal(await ask('cache-39-49 127'), 503);
      assert.equal(await ask('of nobody'), 401);
      configs.set('team-7/cache-7-7-config', configOf('cache-7-7', [digitsOf('new')]));
      await names.reconcile(stop.signal);
      const after = await configMaps();
      const changed = [...after].filter(
        ([name, { metadata }]) => before.get(name)?.metadata.resourceVersion !== metadata.resourceVersion,
      );
      assert.deepEqual(changed.map(([name]) => name).sort(), ['narwhal-names.team-7', 'narwhal-routes.team-7']);
      await until('the gateway knows', async () => (await ask('new')) === 503);
    } finally {
      await gateway.remove();
    }
  });

  it('takes over the names of a version that had one ConfigMap for all, and leaves that as it is', async () => {
    const old = { main: 'team-a', gone: 'team-a', other: 'team-b' };
    await legacy('narwhal-names', old);
    const text = JSON.stringify({ apiUrl: API, caches: { main: { url: 'http://main.team-a.svc' } } });
    await legacy('narwhal-routes', { 'routes.json': text });
    // Older than the holders, for all that the record of the old version knows.
    const rivals = [cacheIn('a', 'main'), cacheIn('a', 'gone')];
    const all = [...rivals, cacheIn('team-a', 'main')];
    const configs = new Map(
      all.map(({ metadata }) => [`${metadata.namespace}/${metadata.name}-config`, configOf('x', [])]),
    );
    const names = namesOver(all, configs);
    const reconcile = async () => {
      await names.reconcile(stop.signal);
      return all.map((cache) => names.of(cache).holder);
    };
    const taken = { namespace: 'team-a' };
    assert.deepEqual(await reconcile(), [taken, taken, 'this cache']);
    const made = await configMaps();
    assert.deepEqual(Object.keys(made.get('narwhal-names.team-a')?.data ?? {}), ['gone', 'main']);
    assert.deepEqual(Object.keys(made.get('narwhal-names.team-b')?.data ?? {}), ['other']);
    assert.deepEqual(made.get('narwhal-names')?.data, old);
    // Gateways of the old version read the old key, and there are none that say that they read shards.
    assert.deepEqual(Object.keys(made.get('narwhal-routes')?.data ?? {}).sort(), ['routes.json', 'table.json']);
    // What an administrator releases does not come back out of the old record.
    for (const name of ['gone', 'main'])
      await home.patch(kinds.ConfigMap, 'narwhal-names.team-a', { data: { [name]: null } });
    await until(
      'the watch has heard',
      async () =>
        Object.keys(records.get({ namespace: home.name, name: 'narwhal-names.team-a' })?.data ?? {}).length === 0,
    );
    const released = await reconcile();
    assert.equal(released[1], 'this cache');
    assert.deepEqual(await reconcile(), released);
  });

  it('decides nothing that it could not write down', async () => {
    await home.apply({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'narwhal-names.team-a', labels: { 'app.kubernetes.io/managed-by': 'narwhal-operator' } },
      data: {},
      immutable: true,
    });
    const all = [cacheIn('team-a', 'main'), cacheIn('team-b', 'main'), cacheIn('team-b', 'other')];
    const configs = new Map(
      all.map(({ metadata }) => [`${metadata.namespace}/${metadata.name}-config`, configOf('x', [])]),
    );
    const names = namesOver(all, configs);
    await names.reconcile(stop.signal);
    assert.equal(names.of(all[0] as Cache).holder, undefined);
    assert.equal(names.of(all[2] as Cache).holder, 'this cache');
    const made = await configMaps();
    assert.equal(made.get('narwhal-routes.team-a'), undefined);
    assert.ok(made.get('narwhal-routes.team-b'));
  });
});
