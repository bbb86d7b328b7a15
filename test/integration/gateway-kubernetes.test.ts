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

  before(async function () {
    this.timeout(120_000);
    kubernetes = await sharedKubernetes();
  });
  beforeEach(async () => {
    namespace = await kubernetes.namespace('gateway');
    upstream = await Upstream.start();
    const rules = [
      { apiGroups: [''], resources: ['configmaps'], resourceNames: ['routes'], verbs: ['get', 'list', 'watch'] },
    ];
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
    await until('it is said', async () => /there is no key routes\.json/.test((await running.status()).error ?? ''));
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
});
