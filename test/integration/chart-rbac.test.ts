// What operator, gateway and users may do: the whole of it, as a real API server sees it. A right more or less has to be
// written down here.
import assert from 'node:assert/strict';
import { chartFolder, helm } from '../support/chart.ts';
import { makeNamespace } from '../support/chart-cluster.ts';
import { type Rights, rightsOf } from '../support/chart-rights.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { until } from '../support/server.ts';

const START_MS = 120_000;
const SYSTEM = 'narwhal-system';
const gateway = { enabled: true, apiUrl: 'https://cache.example.org' };

/** By server-side apply, after a look; see operator-rbac.yaml. */
const OWN = 'create get list patch watch';
/** What a manifest may stop to ask for. */
const REMOVED = 'create delete get list patch watch';
const FOLLOWED = 'list watch';

const WITH_CACHES: Rights = {
  'binarycaches.narwhal.dev': FOLLOWED,
  'binarycaches.narwhal.dev/status': 'patch',
  configmaps: OWN,
  'events.events.k8s.io': 'create patch',
  'horizontalpodautoscalers.autoscaling': REMOVED,
  'httproutes.gateway.networking.k8s.io': REMOVED,
  'ingresses.networking.k8s.io': REMOVED,
  'networkpolicies.networking.k8s.io': REMOVED,
  persistentvolumeclaims: REMOVED,
  'poddisruptionbudgets.policy': OWN,
  pods: FOLLOWED,
  secrets: 'create delete get patch',
  serviceaccounts: REMOVED,
  'servicemonitors.monitoring.coreos.com': REMOVED,
  services: OWN,
  'statefulsets.apps': OWN,
};

const EVERYWHERE: Rights = {
  'customresourcedefinitions.apiextensions.k8s.io [binarycaches.narwhal.dev]': 'get',
};

/** In the operator's own namespace: the ConfigMaps of the gateway's table are too many to be named. */
const atHome = (name: string): Rights => ({
  configmaps: 'create delete get list update watch',
  'leases.coordination.k8s.io': 'create',
  [`leases.coordination.k8s.io [${name}-operator]`]: 'get update',
  pods: FOLLOWED,
});

describeWithOwnKubernetes('the rights of', () => {
  let kubernetes: Kubernetes;

  before(async function () {
    this.timeout(START_MS);
    kubernetes = await Kubernetes.start();
    for (const name of [SYSTEM, 'scoped-system', 'team-a', 'team-b', 'elsewhere'])
      await makeNamespace(kubernetes, name);
    await helm(['install', 'narwhal', chartFolder, '-n', SYSTEM], { kubernetes, values: { gateway } });
    await helm(['install', 'scoped', chartFolder, '-n', 'scoped-system'], {
      kubernetes,
      values: { crds: { enabled: false }, watchNamespaces: ['team-a', 'team-b'], gateway },
    });
    // What was installed last counts last.
    await expectRights('scoped-narwhal-gateway', 'scoped-system', 'scoped-system', {
      configmaps: FOLLOWED,
    });
  });
  after(() => kubernetes?.remove());

  /** Waits for it: the API server learns of roles by a watch. */
  async function expectRights(serviceAccount: string, home: string, namespace: string, expected: Rights) {
    const sorted = Object.fromEntries(Object.entries(expected).sort());
    let rights: Rights = {};
    const isThere = async () => {
      rights = await rightsOf(kubernetes, { serviceAccount, namespace: home }, namespace);
      return JSON.stringify(rights) === JSON.stringify(sorted);
    };
    await until('the roles count', isThere).catch((error: unknown) => {
      assert.deepEqual(rights, sorted);
      throw error;
    });
  }

  describe('the operator', () => {
    it('are those to run caches, in every namespace', () =>
      expectRights('narwhal-operator', SYSTEM, 'elsewhere', { ...WITH_CACHES, ...EVERYWHERE }));

    it('are more in its own namespace', () =>
      expectRights('narwhal-operator', SYSTEM, SYSTEM, {
        ...WITH_CACHES,
        ...EVERYWHERE,
        ...atHome('narwhal'),
        configmaps: 'create delete get list patch update watch',
      }));

    it('are confined to the namespaces that it watches, and its own', async () => {
      const who = ['scoped-narwhal-operator', 'scoped-system'] as const;
      await expectRights(...who, 'team-a', { ...WITH_CACHES, ...EVERYWHERE });
      await expectRights(...who, 'team-b', { ...WITH_CACHES, ...EVERYWHERE });
      await expectRights(...who, 'elsewhere', EVERYWHERE);
      await expectRights(...who, 'scoped-system', { ...EVERYWHERE, ...atHome('scoped-narwhal') });
    });

    it('hold for server-side apply, and not for a list of Secrets', async () => {
      const kubeconfig = await kubernetes.kubeconfigFor({ serviceAccount: 'narwhal-operator', namespace: SYSTEM });
      const service = {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: {
          name: 'main',
          namespace: 'elsewhere',
          labels: { 'app.kubernetes.io/managed-by': 'narwhal-operator', 'narwhal.dev/cache': 'main' },
        },
        spec: { ports: [{ port: 80 }] },
      };
      const flags = ['--server-side', '--field-manager=narwhal-operator', '--force-conflicts'];
      await kubernetes.kubectl(['apply', ...flags, '-f', '-'], { input: JSON.stringify(service), kubeconfig });
      for (const [args, message] of [
        [['get', 'secrets', '-n', 'elsewhere'], /cannot list resource "secrets"/],
        [['get', 'secrets', '--all-namespaces'], /cannot list resource "secrets"/],
        [['delete', 'binarycache', 'main', '-n', 'elsewhere'], /cannot delete resource "binarycaches"/],
        [['get', 'nodes'], /cannot list resource "nodes"/],
      ] as const) {
        const { code, stderr } = await kubernetes.tryKubectl(args, { kubeconfig });
        assert.equal(code, 1);
        assert.match(stderr, message);
      }
    });
  });

  describe('the gateway', () => {
    it('are to follow the ConfigMaps beside it, among which the table is', () =>
      expectRights('narwhal-gateway', SYSTEM, SYSTEM, { configmaps: FOLLOWED }));

    it('are none elsewhere', () => expectRights('narwhal-gateway', SYSTEM, 'elsewhere', {}));
  });

  describe('whoever may view or edit a namespace', () => {
    const cache = {
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name: 'main', namespace: 'team-a' },
      spec: { storages: [{ name: 'disk', local: {} }] },
    };

    before(async function () {
      this.timeout(START_MS);
      await kubernetes.startControllerManager({ controllers: ['clusterrole-aggregation-controller'] });
      for (const [role, user] of Object.entries({ view: 'viewer', edit: 'editor' })) {
        const binding = [`--clusterrole=${role}`, `--user=${user}`, '-n', 'team-a'];
        await kubernetes.kubectl(['create', 'rolebinding', user, ...binding]);
      }
      const edits = async (): Promise<boolean> => {
        const { rules } = await kubernetes.expect('/apis/rbac.authorization.k8s.io/v1/clusterroles/edit');
        return JSON.stringify(rules).includes('binarycaches/scale');
      };
      await until('the roles are put together', edits);
    });

    it('are to view or edit its caches', async () => {
      const viewer = await kubernetes.kubeconfigFor({ user: 'viewer', groups: [] });
      const editor = await kubernetes.kubeconfigFor({ user: 'editor', groups: [] });
      const create = (kubeconfig: string) =>
        kubernetes.tryKubectl(['create', '-f', '-'], { input: JSON.stringify(cache), kubeconfig });
      await until('an editor may create a cache', async () => (await create(editor)).code === 0);
      const scale = (kubeconfig: string) =>
        kubernetes.tryKubectl(['scale', 'binarycache', 'main', '--replicas=0', '-n', 'team-a'], { kubeconfig });
      assert.equal((await scale(editor)).code, 0);
      const get = ['get', 'nix', '-n', 'team-a'];
      await until(
        'a viewer may see it',
        async () => (await kubernetes.tryKubectl(get, { kubeconfig: viewer })).code === 0,
      );
      assert.match((await create(viewer)).stderr, /cannot create resource "binarycaches"/);
      assert.match((await scale(viewer)).stderr, /cannot patch resource "binarycaches\/scale"/);
    });

    it('are none to forge what the operator reports', async () => {
      const kubeconfig = await kubernetes.kubeconfigFor({ user: 'editor', groups: [] });
      for (const verb of ['update', 'patch']) {
        const canI = ['auth', 'can-i', verb, 'binarycaches', '--subresource=status', '-n', 'team-a'];
        assert.equal((await kubernetes.tryKubectl(canI, { kubeconfig })).stdout, 'no\n');
      }
    });
  });
});
