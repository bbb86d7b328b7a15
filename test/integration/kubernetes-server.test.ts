// What the Kubernetes of the tests does, so that a test of ours that fails is not searched in the wrong place.
import assert from 'node:assert/strict';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import type { ApiObject } from '../support/kubernetes-api.ts';
import { describeWith } from '../support/needs.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const START_MS = 120_000;

const configMaps = (namespace: string) => `/api/v1/namespaces/${namespace}/configmaps`;

async function makeConfigMap(
  kubernetes: Kubernetes,
  namespace: string,
  name: string,
  metadata: Readonly<Record<string, unknown>> = {},
): Promise<ApiObject> {
  return kubernetes.expect(configMaps(namespace), { method: 'POST', body: { metadata: { name, ...metadata } } });
}

describeWith('kubernetes', 'the Kubernetes of the tests', () => {
  let kubernetes: Kubernetes;
  let namespace: string;

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await sharedKubernetes();
    namespace = await kubernetes.namespace('self');
  });

  it('is spoken to by kubectl', async () => {
    const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'by-kubectl', namespace } };
    await kubernetes.kubectl(['apply', '-f', '-'], { input: JSON.stringify(manifest) });
    assert.equal((await kubernetes.request(`${configMaps(namespace)}/by-kubectl`)).status, 200);
    const { code, stderr } = await kubernetes.tryKubectl(['get', 'configmap', 'none', '-n', namespace]);
    assert.equal(code, 1);
    assert.match(stderr, /NotFound/);
  });

  it('gives each test a namespace of its own', async () => {
    assert.notEqual(await kubernetes.namespace('same'), await kubernetes.namespace('same'));
  });

  it('lets ServiceAccounts do what roles allow, and nothing else', async () => {
    await kubernetes.kubectl(['create', 'serviceaccount', 'reader', '-n', namespace]);
    const kubeconfig = await kubernetes.kubeconfigFor({ serviceAccount: 'reader', namespace });
    const get = ['get', 'configmaps', '-n', namespace];
    const refused = await kubernetes.tryKubectl(get, { kubeconfig });
    assert.match(refused.stderr, new RegExp(`User "system:serviceaccount:${namespace}:reader" cannot list`));
    const role = ['--verb=list', '--resource=configmaps', '-n', namespace];
    await kubernetes.kubectl(['create', 'role', 'reader', ...role]);
    const binding = ['--role=reader', `--serviceaccount=${namespace}:reader`, '-n', namespace];
    await kubernetes.kubectl(['create', 'rolebinding', 'reader', ...binding]);
    // The API server learns of roles by a watch.
    await until('the role counts', async () => (await kubernetes.tryKubectl(get, { kubeconfig })).code === 0);
    assert.equal((await kubernetes.tryKubectl(['delete', 'ns', namespace], { kubeconfig })).code, 1);
  });
});

describeWithOwnKubernetes('a Kubernetes of a test’s own', () => {
  let kubernetes: Kubernetes;
  let namespace: string;

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await Kubernetes.start();
    namespace = await kubernetes.namespace('self');
  });
  after(() => kubernetes.remove());

  it('knows users by the certificates that it gave them', async () => {
    const kubeconfig = await kubernetes.kubeconfigFor({ user: 'jo/e', groups: ['a', 'b:c'] });
    const who = JSON.parse(await kubernetes.kubectl(['auth', 'whoami', '-o', 'json'], { kubeconfig }));
    assert.equal(who.status.userInfo.username, 'jo/e');
    assert.deepEqual(who.status.userInfo.groups, ['a', 'b:c', 'system:authenticated']);
  });

  it('keeps its objects when the API server is killed and started again', async function () {
    this.timeout(START_MS);
    const before = await makeConfigMap(kubernetes, namespace, 'kept');
    const { url } = kubernetes;
    await kubernetes.stopApi();
    await assert.rejects(kubernetes.request('/readyz'));
    await kubernetes.restartApi();
    assert.equal(kubernetes.url, url);
    const { metadata } = await kubernetes.expect(`${configMaps(namespace)}/kept`);
    assert.deepEqual(metadata, before.metadata);
  });

  it('answers nothing while the API server is frozen, and goes on afterwards', async () => {
    kubernetes.freezeApi();
    const answer = kubernetes.request('/readyz');
    try {
      const { code, stderr } = await kubernetes.tryKubectl(['get', '--raw=/readyz', '--request-timeout=500ms']);
      assert.equal(code, 1);
      assert.match(stderr, /timeout|deadline/i);
    } finally {
      kubernetes.thawApi();
    }
    assert.equal((await answer).status, 200);
  });

  it('answers watches and lists of a forgotten version with 410', async function () {
    this.timeout(START_MS);
    const { metadata } = await makeConfigMap(kubernetes, namespace, 'first');
    await makeConfigMap(kubernetes, namespace, 'second');
    const version = String(metadata?.resourceVersion);
    const list = `${configMaps(namespace)}?resourceVersion=${version}&resourceVersionMatch=Exact`;
    const watch = `${configMaps(namespace)}?watch=1&resourceVersion=${version}&timeoutSeconds=1`;
    assert.equal((await kubernetes.request(list)).status, 200);
    assert.equal((await kubernetes.request(watch)).body.type, 'ADDED');
    await kubernetes.compact();
    await kubernetes.restartApi();
    assert.equal((await kubernetes.request(list)).status, 410);
    const { body } = await kubernetes.request(watch);
    assert.deepEqual([body.type, (body.object as ApiObject).code], ['ERROR', 410]);
  });

  it('collects what belonged to an object that is gone, once the controllers run', async function () {
    this.timeout(START_MS);
    const { metadata: owner } = await makeConfigMap(kubernetes, namespace, 'owner');
    const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: owner?.uid }];
    await makeConfigMap(kubernetes, namespace, 'owned', { ownerReferences });
    await kubernetes.expect(`${configMaps(namespace)}/owner`, { method: 'DELETE' });
    const owned = `${configMaps(namespace)}/owned`;
    assert.equal((await kubernetes.request(owned)).status, 200);
    await kubernetes.startControllerManager({ controllers: ['garbage-collector-controller'] });
    await until('it is collected', async () => (await kubernetes.request(owned)).status === 404);
    await kubernetes.stopControllerManager();
    assert.equal(kubernetes.pids.controllers, -1);
  });

  it('makes a ServiceAccount in each namespace by its controller, and lets pods have it', async function () {
    this.timeout(START_MS);
    const other = await Kubernetes.start({ serviceAccountAdmission: true });
    try {
      await other.startControllerManager({ controllers: ['serviceaccount-controller'] });
      const name = await other.namespace('pods');
      const accounts = `/api/v1/namespaces/${name}/serviceaccounts/default`;
      await until('the account is there', async () => (await other.request(accounts)).status === 200);
      const spec = { containers: [{ name: 'a', image: 'a' }] };
      const pod = { metadata: { name: 'a' }, spec };
      const { spec: made } = await other.expect(`/api/v1/namespaces/${name}/pods`, { method: 'POST', body: pod });
      assert.equal((made as { serviceAccountName: string }).serviceAccountName, 'default');
    } finally {
      await other.remove();
    }
  });
});
