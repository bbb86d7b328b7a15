// The life of an installation: what helm does to a real API server from the first day to the last. No pods run here.
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { bundleFile } from '../../hack/bundle.mjs';
import { ensureKubernetes } from '../../hack/components/kubernetes.mjs';
import { chartFolder, type HelmInit, helm, tryHelm, type Values } from '../support/chart.ts';
import { makeNamespace } from '../support/chart-cluster.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { Operator } from '../support/operator.ts';
import { runToEnd } from '../support/run.ts';
import { until } from '../support/server.ts';

const START_MS = 120_000;
const SYSTEM = 'narwhal-system';
const gateway = { enabled: true, apiUrl: 'https://cache.example.org' };
const cachesIn = (namespace: string) => `/apis/narwhal.dev/v1alpha1/namespaces/${namespace}/binarycaches`;

describeWithOwnKubernetes('an installation by helm', () => {
  let kubernetes: Kubernetes;
  let folder: string;

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await Kubernetes.start();
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-chart-'));
    for (const name of [SYSTEM, 'team-a']) await makeNamespace(kubernetes, name);
  });
  afterEach(async () => {
    await tryHelm(['uninstall', 'narwhal', '-n', SYSTEM], { kubernetes });
    await kubernetes.kubectl(['delete', 'crd', '-l', 'app.kubernetes.io/name=narwhal', '--timeout=30s']);
  });
  after(async () => {
    await kubernetes?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  const withCluster = (values: Values): HelmInit => ({ kubernetes, values });
  const install = (values: Values = {}, chart = chartFolder) =>
    helm(['install', 'narwhal', chart, '-n', SYSTEM], withCluster(values));
  const upgrade = (values: Values) => helm(['upgrade', 'narwhal', chartFolder, '-n', SYSTEM], withCluster(values));
  const uninstall = () => helm(['uninstall', 'narwhal', '-n', SYSTEM], { kubernetes });

  async function makeCache(): Promise<void> {
    const body = {
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name: 'main' },
      spec: { storages: [{ name: 'disk', local: {} }] },
    };
    await kubernetes.kubectl(['wait', '--for=condition=Established', '--timeout=30s', 'crd/binarycaches.narwhal.dev']);
    await kubernetes.expect(cachesIn('team-a'), { method: 'POST', body });
  }
  const cacheStatus = async () => (await kubernetes.request(`${cachesIn('team-a')}/main`)).status;
  const deployment = (name: string) => kubernetes.expect(`/apis/apps/v1/namespaces/${SYSTEM}/deployments/${name}`);
  const generationOf = async (name: string) => (await deployment(name)).metadata?.generation;

  it('ends with notes whose commands work', async () => {
    const notes = await install({ watchNamespaces: ['team-a'] });
    const [command] = /^kubectl apply .*?^END$/ms.exec(notes) ?? [];
    assert.ok(command, notes);
    await kubernetes.kubectl(['wait', '--for=condition=Established', '--timeout=30s', 'crd/binarycaches.narwhal.dev']);
    // As a person pastes it.
    const { bin } = await ensureKubernetes();
    const env = { PATH: `${bin}:${process.env.PATH}`, HOME: folder, KUBECONFIG: kubernetes.kubeconfig };
    const pasted = await runToEnd(['sh'], { input: command, env });
    assert.equal(pasted.code, 0, pasted.stderr);
    assert.equal(await cacheStatus(), 200);
    assert.match(notes, /kubectl wait -n team-a --for=condition=Ready binarycache\/main/);
    assert.match(notes, /kubectl get secret -n team-a main-token-push -o jsonpath='{\.data\.token}'/);
    assert.match(notes, /http:\/\/main\.team-a\.svc/);
  });

  it('says in its notes where clients find a cache that has the gateway', async () => {
    const notes = await install({ gateway: { ...gateway, service: { type: 'LoadBalancer' } } });
    assert.match(notes, /https:\/\/main\.cache\.example\.org/);
    assert.match(notes, /kubectl get service -n narwhal-system narwhal-gateway/);
  });

  it('restarts nothing by an upgrade that changes nothing', async () => {
    await install({ gateway });
    await upgrade({ gateway });
    assert.equal(await generationOf('narwhal-operator'), 1);
    assert.equal(await generationOf('narwhal-gateway'), 1);
  });

  it('takes over what kubectl installed from the bundle', async () => {
    await kubernetes.kubectl(['apply', '-f', bundleFile]);
    await makeCache();
    const { spec } = await deployment('narwhal-operator');
    await helm(['install', 'narwhal', chartFolder, '-n', SYSTEM, '--take-ownership'], withCluster({}));
    assert.deepEqual((await deployment('narwhal-operator')).spec, spec);
    assert.equal(await cacheStatus(), 200);
  });

  it('takes the gateway in and out by upgrades', async () => {
    await install();
    await upgrade({ gateway });
    assert.equal(await generationOf('narwhal-gateway'), 1);
    await upgrade({ gateway: { enabled: false } });
    await assert.rejects(generationOf('narwhal-gateway'), /404/);
  });

  it('brings newer CRDs by an upgrade, and caches stay', async () => {
    const older = path.join(folder, 'older');
    await cp(chartFolder, older, { recursive: true });
    const file = path.join(older, 'files/crds/binarycaches.yaml');
    const crd = await readFile(file, 'utf8');
    await writeFile(file, crd.replace('    categories:\n      - nix\n', ''));
    await install({}, older);
    await makeCache();
    const categories = async () => {
      const { spec } = await kubernetes.expect(
        '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/binarycaches.narwhal.dev',
      );
      return (spec as { names: { categories?: string[] } }).names.categories;
    };
    assert.equal(await categories(), undefined);
    await upgrade({});
    assert.deepEqual(await categories(), ['nix']);
    assert.equal(await cacheStatus(), 200);
  });

  it('leaves CRDs and caches when it goes, and finds them when it comes back', async () => {
    await install();
    await makeCache();
    await uninstall();
    assert.equal(await cacheStatus(), 200);
    const left = await kubernetes.kubectl([
      'get',
      'all,roles,rolebindings,networkpolicies',
      '-n',
      SYSTEM,
      '-o',
      'name',
    ]);
    assert.equal(left, '');
    await install();
    assert.equal(await cacheStatus(), 200);
  });

  it('gives back the lease when it goes, although its pods end after their rights', async () => {
    await install();
    const kubeconfig = await kubernetes.kubeconfigFor({ serviceAccount: 'narwhal-operator', namespace: SYSTEM });
    const lease = `/apis/coordination.k8s.io/v1/namespaces/${SYSTEM}/leases/narwhal-operator`;
    const holder = async () => {
      const { status, body } = await kubernetes.request(lease);
      return status === 404 ? undefined : (body.spec as { holderIdentity?: string } | undefined)?.holderIdentity;
    };
    const operator = await Operator.start({ kubeconfig, namespace: SYSTEM });
    try {
      await until('it leads', async () => ((await holder()) ?? '') !== '');
      await uninstall();
      assert.equal(await holder(), undefined);
      assert.equal((await kubernetes.request(lease)).status, 404);
      // As the kubelet does, once the Deployment is gone. It cannot do what it would.
      assert.equal(await operator.stop(), 0);
      assert.equal((await kubernetes.request(lease)).status, 404);
    } finally {
      await operator.remove();
    }
  });

  it('takes CRDs and caches along where it may not keep them', async () => {
    await install({ crds: { keep: false } });
    await makeCache();
    await uninstall();
    await kubernetes.kubectl(['wait', '--for=delete', '--timeout=30s', 'crd/binarycaches.narwhal.dev']);
    assert.equal(await cacheStatus(), 404);
  });

  it('goes on with an upgrade that was refused before it did anything', async () => {
    await install({ gateway });
    const { code, stderr } = await tryHelm(
      ['upgrade', 'narwhal', chartFolder, '-n', SYSTEM],
      withCluster({ gateway: { enabled: true } }),
    );
    assert.equal(code, 1);
    assert.match(stderr, /gateway\.enabled needs gateway\.apiUrl/);
    await upgrade({ gateway });
    assert.equal(await generationOf('narwhal-gateway'), 1);
  });
});
