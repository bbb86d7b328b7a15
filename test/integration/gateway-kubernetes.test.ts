// A gateway that reads its table by the API of Kubernetes, with no more rights than it needs.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { TestGateway } from '../support/gateway.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { Upstream } from '../support/upstream.ts';

describeWith('kubernetes', 'a gateway in a cluster', () => {
  let kubernetes: Kubernetes;
  let namespace: string;
  let kubeconfig: string;
  let upstream: Upstream;
  let gateway: TestGateway | undefined;

  before(async () => {
    kubernetes = await sharedKubernetes();
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('gateway');
    upstream = await Upstream.start();
    const rules = [{ apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'watch'] }];
    const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`;
    await post(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name: 'gateway' } });
    await post(`${rbac}/roles`, { metadata: { name: 'gateway' }, rules });
    await post(`${rbac}/rolebindings`, {
      metadata: { name: 'gateway' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'gateway' },
      subjects: [{ kind: 'ServiceAccount', name: 'gateway', namespace }],
    });
    kubeconfig = await kubernetes.kubeconfigFor({ serviceAccount: 'gateway', namespace });
  });
  afterEach(async () => {
    await gateway?.remove();
    gateway = undefined;
    await upstream.close();
  });

  const configMaps = () => `/api/v1/namespaces/${namespace}/configmaps`;
  const post = (path: string, body: object) => kubernetes.expect(path, { method: 'POST', body });
  const table = (...names: readonly string[]) =>
    JSON.stringify({
      apiUrl: 'http://cache.test',
      caches: Object.fromEntries(names.map((name) => [name, { url: upstream.url }])),
    });
  const put = (text: string | undefined) =>
    kubernetes.expect(`${configMaps()}/routes`, {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body: { data: { 'routes.json': text ?? null } },
    });
  const start = async () => {
    gateway = await TestGateway.start({
      table: { caches: {} },
      routes: `configmap:${namespace}/routes`,
      args: ['--kubeconfig', kubeconfig],
    });
    return gateway;
  };
  const runs = (running: TestGateway, text: string) =>
    until('the table runs', async () => {
      const { routes, error } = await running.status();
      return error === null && routes?.sha256 === createHash('sha256').update(text).digest('hex');
    });

  it('follows its ConfigMap, and keeps the last table while there is none', async () => {
    await post(configMaps(), { metadata: { name: 'routes' }, data: { 'routes.json': table('main') } });
    await post(configMaps(), { metadata: { name: 'another' }, data: { 'routes.json': table('wrong') } });
    const running = await start();
    await running.isReady();
    await runs(running, table('main'));
    assert.equal((await send(running.url, '/api/v1/cache/main/x')).status, 200);
    await put(table('main', 'more'));
    await runs(running, table('main', 'more'));
    assert.equal((await send(running.url, '/api/v1/cache/more/x')).status, 200);
    await put(undefined);
    await until('it is said', async () =>
      /there is no key table\.json or routes\.json/.test((await running.status()).error ?? ''),
    );
    await kubernetes.expect(`${configMaps()}/routes`, { method: 'DELETE' });
    await until('it is said', async () => /there is no ConfigMap/.test((await running.status()).error ?? ''));
    assert.equal((await send(running.url, '/api/v1/cache/more/x')).status, 200);
    assert.equal((await fetch(`${running.adminUrl}/readyz`)).status, 200);
    await post(configMaps(), { metadata: { name: 'routes' }, data: { 'routes.json': table('main') } });
    await runs(running, table('main'));
  });

  it('waits for a ConfigMap that is not there yet', async () => {
    const running = await start();
    await until('it is said', async () => /there is no ConfigMap/.test((await running.status()).error ?? ''));
    assert.equal((await fetch(`${running.adminUrl}/readyz`)).status, 503);
    await post(configMaps(), { metadata: { name: 'routes' }, data: { 'routes.json': table('main') } });
    await running.isReady();
  });

  describe('whose table is in shards', () => {
    const HEAD = JSON.stringify({ apiUrl: 'http://cache.test', later: 1 });
    const shard = (caches: Readonly<Record<string, readonly string[]>>) =>
      JSON.stringify({
        caches: Object.fromEntries(
          Object.entries(caches).map(([name, tokens]) => [name, { url: upstream.url, tokens }]),
        ),
      });
    const write = async (name: string, data: Readonly<Record<string, string>>) => {
      const labels = { 'narwhal.dev/shard-of': 'routes' };
      const { status } = await kubernetes.request(`${configMaps()}/${name}`);
      if (status === 404) await post(configMaps(), { metadata: { name, labels }, data });
      else
        await kubernetes.expect(`${configMaps()}/${name}`, {
          method: 'PATCH',
          type: 'application/merge-patch+json',
          body: { data, metadata: { labels } },
        });
    };
    const writeShard = (team: string, text: string) => write(`routes.${team}`, { 'routes.json': text });
    const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
    const runsShards = (running: TestGateway, texts: Readonly<Record<string, string>>) =>
      until('the shards run', async () => {
        const { routes } = await running.status();
        const want = Object.entries(texts).map(([team, text]) => [team, hashOf(text)]);
        return JSON.stringify(Object.entries(routes?.shards ?? {}).sort()) === JSON.stringify(want.sort());
      });
    const ask = async (running: TestGateway, path: string, token?: string) =>
      (await send(running.url, path, { headers: token === undefined ? {} : { authorization: `Bearer ${token}` } }))
        .status;
    const digits = (token: string) => hashOf(token).slice(0, 16);

    it('takes each as it comes and goes', async () => {
      await write('routes', { 'table.json': HEAD });
      await writeShard('a', shard({ main: [digits('push')] }));
      const running = await start();
      await running.isReady();
      await runsShards(running, { a: shard({ main: [digits('push')] }) });
      await writeShard('b', shard({ other: [] }));
      // Without the label, or of another table.
      await post(configMaps(), { metadata: { name: 'routes.c' }, data: { 'routes.json': shard({ wrong: [] }) } });
      await runsShards(running, { a: shard({ main: [digits('push')] }), b: shard({ other: [] }) });
      for (const [path, status] of [
        ['/api/v1/cache/main/x', 200],
        ['/api/v1/cache/other/x', 200],
        ['/api/v1/cache/wrong/x', 404],
      ] as const)
        assert.equal(await ask(running, path), status, path);
      assert.equal(await ask(running, '/api/v1/user', 'push'), 200);
      await kubernetes.expect(`${configMaps()}/routes.a`, { method: 'DELETE' });
      await runsShards(running, { b: shard({ other: [] }) });
      assert.equal(await ask(running, '/api/v1/cache/main/x'), 404);
      // What is left is somebody’s, and nobody else’s requests are theirs.
      assert.equal(await ask(running, '/nix-cache-info'), 404);
    });

    it('gives what two shards claim to neither', async () => {
      const [one, two] = [shard({ main: [digits('shared')], a: [] }), shard({ main: [], b: [digits('shared')] })];
      await write('routes', { 'table.json': HEAD });
      await writeShard('a', one);
      await writeShard('b', two);
      const running = await start();
      await runsShards(running, { a: one, b: two });
      assert.equal(await ask(running, '/api/v1/cache/main/x'), 404);
      assert.equal(await ask(running, '/api/v1/user', 'shared'), 401);
      assert.equal(await ask(running, '/api/v1/cache/b/x'), 200);
    });

    it('goes on with the last good shard of one namespace, while others change', async () => {
      const good = shard({ main: [] });
      await write('routes', { 'table.json': HEAD });
      await writeShard('a', good);
      const running = await start();
      await runsShards(running, { a: good });
      await writeShard('a', '{"caches": {"main": {"url": "ftp://x"}}}');
      await writeShard('b', shard({ other: [] }));
      await runsShards(running, { a: good, b: shard({ other: [] }) });
      assert.match((await running.status()).error ?? '', /^a: caches\.main\.url: must be a URL/);
      for (const name of ['main', 'other']) assert.equal(await ask(running, `/api/v1/cache/${name}/x`), 200);
      await writeShard('a', shard({ main: [], more: [] }));
      await until('it is well again', async () => (await running.status()).error === null);
      assert.equal(await ask(running, '/api/v1/cache/more/x'), 200);
    });

    it('is one of an operator that is upgraded: the table in one piece counts until there is a head', async () => {
      await write('routes', { 'routes.json': table('old') });
      await writeShard('a', shard({ new: [] }));
      const running = await start();
      await runs(running, table('old'));
      assert.equal((await running.status()).routes?.shards, undefined);
      assert.equal(await ask(running, '/api/v1/cache/new/x'), 404);
      await write('routes', { 'table.json': HEAD });
      await runsShards(running, { a: shard({ new: [] }) });
      assert.equal(await ask(running, '/api/v1/cache/new/x'), 200);
      assert.equal(await ask(running, '/api/v1/cache/old/x'), 404);
    });
  });
});
