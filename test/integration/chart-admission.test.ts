// What the operator could do with its rights and may not: each way out, tried as the operator's account on a real API server.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type Kind, kinds, type Obj } from '../../operator/runtime/index.ts';
import { pathOf } from '../../operator/runtime/kinds.ts';
import { chartFolder, find, helm, type Manifest, render } from '../support/chart.ts';
import { installForeignKinds, makeNamespace } from '../support/chart-cluster.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import { type ApiAnswer, type ApiObject, KubernetesApi } from '../support/kubernetes-api.ts';
import { until } from '../support/server.ts';

const SYSTEM = 'narwhal-system';
const TEAM = 'team';
const LABELS = { 'app.kubernetes.io/managed-by': 'narwhal-operator', 'narwhal.dev/cache': 'main' };
const NOT_OURS = /narwhal-operator may write and remove only what carries its labels/;

const ONLY_TOKENS = /narwhal-operator may delete only Secrets of tokens/;

type Body = Readonly<Record<string, unknown>>;

const selector = { matchLabels: { app: 'a' } };
const SERVER = { name: 'server', image: 'narwhal', securityContext: { allowPrivilegeEscalation: false } };
const POD = { automountServiceAccountToken: false, containers: [SERVER] };

function statefulSet(pod: Body = {}): Body {
  const template = { metadata: { labels: selector.matchLabels }, spec: { ...POD, ...pod } };
  return { spec: { serviceName: 'a', selector, template } };
}

/** Each kind that caches consist of, with as much as an API server wants of it, and whether the operator may remove it, or what is
 * said of most of them. */
const KINDS: readonly (readonly [Kind<Obj>, Body, removes: boolean | RegExp])[] = [
  [kinds.ConfigMap, { data: { a: 'b' } }, false],
  [kinds.Secret, { stringData: { token: 'a' } }, ONLY_TOKENS],
  [kinds.Service, { spec: { ports: [{ port: 80 }] } }, false],
  [kinds.ServiceAccount, { automountServiceAccountToken: false }, true],
  [
    kinds.PersistentVolumeClaim,
    { spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } } },
    true,
  ],
  [kinds.StatefulSet, statefulSet(), false],
  [kinds.PodDisruptionBudget, { spec: { maxUnavailable: 1, selector } }, false],
  [
    kinds.HorizontalPodAutoscaler,
    { spec: { maxReplicas: 2, scaleTargetRef: { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'a' } } },
    true,
  ],
  [kinds.NetworkPolicy, { spec: { podSelector: {} } }, true],
  [kinds.Ingress, { spec: { rules: [{ host: 'a.example.org' }] } }, true],
  [kinds.HTTPRoute, { spec: { hostnames: ['a.example.org'] } }, true],
  [kinds.ServiceMonitor, { spec: { endpoints: [] } }, true],
];

describeWithOwnKubernetes('the operator’s account', () => {
  let kubernetes: Kubernetes;
  let operator: KubernetesApi;

  before(async () => {
    kubernetes = await Kubernetes.start();
    await installForeignKinds(kubernetes);
    await makeNamespace(kubernetes, SYSTEM);
    // Without Pod Security, which would refuse some of this by itself.
    await kubernetes.expect('/api/v1/namespaces', { method: 'POST', body: { metadata: { name: TEAM } } });
    const gateway = { enabled: true, apiUrl: 'https://cache.example.org' };
    await helm(['install', 'narwhal', chartFolder, '-n', SYSTEM], { kubernetes, values: { gateway } });
    const token = await kubernetes.token(SYSTEM, 'narwhal-operator');
    const ca = await readFile(kubernetes.caFile, 'utf8');
    operator = new KubernetesApi({ server: kubernetes.url, ca, user: { token } });
    // A policy counts a moment after it was made.
    await until('the policy counts', async () =>
      NOT_OURS.test((await create(operator, kinds.ConfigMap, 'probe', {})).body.message ?? ''),
    );
  });
  after(async () => {
    operator?.close();
    await kubernetes?.remove();
  });

  interface Where {
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  }

  function objectOf(kind: Kind<Obj>, name: string, body: Body, { namespace = TEAM, ...metadata }: Where): ApiObject {
    return { apiVersion: kind.apiVersion, kind: kind.kind, metadata: { name, namespace, ...metadata }, ...body };
  }
  const create = (api: KubernetesApi | Kubernetes, kind: Kind<Obj>, name: string, body: Body, where: Where = {}) =>
    api.request(pathOf(kind, { namespace: where.namespace ?? TEAM }), {
      method: 'POST',
      body: objectOf(kind, name, body, where),
    });
  const apply = (kind: Kind<Obj>, name: string, body: Body, where: Where = {}) =>
    operator.request(`${pathOf(kind, { namespace: where.namespace ?? TEAM, name })}?fieldManager=x&force=true`, {
      method: 'PATCH',
      type: 'application/apply-patch+yaml',
      body: objectOf(kind, name, body, where),
    });
  const merge = (kind: Kind<Obj>, name: string, body: Body, namespace = TEAM) =>
    operator.request(pathOf(kind, { namespace, name }), {
      method: 'PATCH',
      type: 'application/merge-patch+json',
      body,
    });
  const remove = (kind: Kind<Obj>, name: string) =>
    operator.request(pathOf(kind, { namespace: TEAM, name }), { method: 'DELETE' });

  function assertRefused({ status, body }: ApiAnswer, message: RegExp): void {
    assert.match(`${status} ${body.message}`, message);
    assert.ok([403, 422].includes(status), `${status} ${body.message}`);
  }
  function assertDone({ status, body }: ApiAnswer): void {
    assert.ok(status >= 200 && status < 300, `${status} ${body.message}`);
  }

  for (const [kind, body, removes] of KINDS)
    describe(`over each ${kind.kind}`, () => {
      const ours = { labels: LABELS };

      it('makes and changes what carries its labels', async () => {
        assertDone(await create(operator, kind, 'made', body, ours));
        assertDone(await apply(kind, 'made', body, { ...ours, annotations: { a: 'b' } }));
        assertDone(await apply(kind, 'applied', body, ours));
      });

      it('makes nothing that lacks one of them', async () => {
        for (const [label, value] of Object.entries(LABELS)) {
          assertRefused(await create(operator, kind, 'new', body, { labels: { [label]: value } }), NOT_OURS);
          assertRefused(await apply(kind, 'new', body, { labels: { [label]: value } }), NOT_OURS);
        }
        assertRefused(await create(operator, kind, 'new', body), NOT_OURS);
        assertRefused(
          await create(operator, kind, 'new', body, { labels: { ...LABELS, 'app.kubernetes.io/managed-by': 'Helm' } }),
          NOT_OURS,
        );
      });

      it('takes nothing over, by whatever patch, and takes its labels off nothing', async () => {
        assertDone(await create(kubernetes, kind, 'foreign', body));
        assertRefused(await apply(kind, 'foreign', body, ours), NOT_OURS);
        assertRefused(await merge(kind, 'foreign', { metadata: { labels: LABELS } }), NOT_OURS);
        assertRefused(await merge(kind, 'foreign', { metadata: { annotations: { a: 'b' } } }), NOT_OURS);
        for (const label of Object.keys(LABELS))
          assertRefused(await merge(kind, 'made', { metadata: { labels: { [label]: null } } }), NOT_OURS);
      });

      it(removes === true ? 'removes what is its own, and nothing else' : 'removes nothing', async () => {
        assertRefused(await remove(kind, 'foreign'), removes === false ? /cannot delete resource/ : NOT_OURS);
        if (removes === true) assertDone(await remove(kind, 'made'));
        else assertRefused(await remove(kind, 'made'), removes || /cannot delete resource/);
      });
    });

  it('removes Secrets of tokens, and no key, none of others, and none of another cache’s tokens', async () => {
    const body = { stringData: { token: 'a' } };
    const token = 'main-token-gone';
    assertDone(await create(operator, kinds.Secret, token, body, { labels: LABELS }));
    assertDone(await remove(kinds.Secret, token));
    for (const name of ['main-signing-key', 'other-token-push']) {
      assertDone(await create(operator, kinds.Secret, name, body, { labels: LABELS }));
      assertRefused(await remove(kinds.Secret, name), ONLY_TOKENS);
    }
    assertDone(await create(kubernetes, kinds.Secret, 'main-token-foreign', body));
    assertRefused(await remove(kinds.Secret, 'main-token-foreign'), NOT_OURS);
  });

  it('patches no ConfigMap that a cluster runs by', async () => {
    for (const name of ['coredns', 'aws-auth']) {
      const where = { namespace: 'kube-system' };
      assertDone(await create(kubernetes, kinds.ConfigMap, name, { data: {} }, where));
      assertRefused(await merge(kinds.ConfigMap, name, { data: { a: 'b' } }, where.namespace), NOT_OURS);
      assertRefused(await apply(kinds.ConfigMap, name, { data: { a: 'b' } }, { ...where, labels: LABELS }), NOT_OURS);
    }
  });

  it('makes no Secret that becomes a token, or is taken for one', async () => {
    const refusal = /only Secrets of the type Opaque/;
    const annotations = { 'kubernetes.io/service-account.name': 'default' };
    for (const [type, namespace] of [
      ['kubernetes.io/service-account-token', TEAM],
      ['bootstrap.kubernetes.io/token', 'kube-system'],
      ['kubernetes.io/tls', TEAM],
      ['example.org/own', TEAM],
    ] as const) {
      const body = { type, stringData: { 'tls.crt': '', 'tls.key': '' } };
      const where = { namespace, labels: LABELS, annotations };
      assertRefused(await create(operator, kinds.Secret, 'minted', body, where), refusal);
      assertRefused(await apply(kinds.Secret, 'minted', body, where), refusal);
    }
    // Labels that somebody put on one are no help.
    const body = { type: 'kubernetes.io/service-account-token' };
    assertDone(await create(kubernetes, kinds.Secret, 'labelled', body, { labels: LABELS, annotations }));
    assertRefused(await merge(kinds.Secret, 'labelled', { metadata: { annotations: { a: 'b' } } }), refusal);
  });

  it('makes no account whose token is mounted', async () => {
    for (const body of [{}, { automountServiceAccountToken: true }])
      assertRefused(
        await create(operator, kinds.ServiceAccount, 'mounted', body, { labels: LABELS }),
        /only ServiceAccounts whose tokens are not mounted/,
      );
  });

  const token = { serviceAccountToken: { path: 'token' } };
  const NO_TOKEN = /only pods that mount no token, and nothing of their node/;
  const NO_NODE = /only pods without the privileges and the namespaces of their node/;
  for (const [title, pod, refusal] of [
    ['with the token of their account', { automountServiceAccountToken: true }, NO_TOKEN],
    ['that leave that to their account', { automountServiceAccountToken: undefined }, NO_TOKEN],
    ['with a token among their volumes', { volumes: [{ name: 'a', projected: { sources: [token] } }] }, NO_TOKEN],
    ['with a folder of their node', { volumes: [{ name: 'a', hostPath: { path: '/' } }] }, NO_TOKEN],
    ['in the network of their node', { hostNetwork: true }, NO_NODE],
    ['among the processes of their node', { hostPID: true }, NO_NODE],
    ['with privileges', { containers: [{ ...SERVER, securityContext: { privileged: true } }] }, NO_NODE],
    ['that say nothing of privileges', { containers: [{ ...SERVER, securityContext: undefined }] }, NO_NODE],
    [
      'with a capability, by which root loads modules into the kernel of its node',
      {
        containers: [
          { ...SERVER, securityContext: { ...SERVER.securityContext, capabilities: { add: ['SYS_MODULE'] } } },
        ],
      },
      NO_NODE,
    ],
    ['at a port of their node', { containers: [{ ...SERVER, ports: [{ containerPort: 1, hostPort: 1 }] }] }, NO_NODE],
    [
      'with a first container of privileges',
      { initContainers: [{ ...SERVER, name: 'a', securityContext: { privileged: true } }] },
      NO_NODE,
    ],
  ] as const)
    it(`makes no pods ${title}`, async () => {
      const kind = kinds.StatefulSet;
      assertRefused(await create(operator, kind, 'pods', statefulSet(pod), { labels: LABELS }), refusal);
    });

  it('makes no Service that takes the traffic of others, or leads out of the cluster', async () => {
    const ports = [{ port: 80 }];
    for (const spec of [
      { ports, externalIPs: ['203.0.113.1'] },
      { ports, type: 'LoadBalancer' },
      { ports, type: 'NodePort' },
      { type: 'ExternalName', externalName: 'example.org' },
    ])
      assertRefused(
        await create(operator, kinds.Service, 'taking', { spec }, { labels: LABELS }),
        /only Services of the type ClusterIP without external addresses/,
      );
  });

  it('writes its records and its lease at home, and no others', async () => {
    const home = { namespace: SYSTEM };
    for (const name of ['narwhal-names', 'narwhal-routes', 'narwhal-names.team', 'narwhal-routes.team'])
      assertDone(await create(operator, kinds.ConfigMap, name, { data: {} }, home));
    assertDone(await apply(kinds.ConfigMap, 'narwhal-routes', { data: { a: 'b' } }, home));
    for (const name of ['others', 'narwhal-names-of-others', 'narwhal-routesx'])
      assertRefused(await create(operator, kinds.ConfigMap, name, {}, home), NOT_OURS);
    assertRefused(await create(operator, kinds.ConfigMap, 'narwhal-names', {}), NOT_OURS);
    const lease = kinds.Lease;
    assertDone(await create(operator, lease, 'narwhal-operator', {}, home));
    assertRefused(await create(operator, lease, 'others', {}, { ...home, labels: LABELS }), /no Lease but its own/);
  });

  it('reports events of its own only', async () => {
    const event = (reportingController: string) => ({
      eventTime: '2030-01-01T00:00:00.000000Z',
      reportingController,
      reportingInstance: 'a',
      type: 'Normal',
      reason: 'A',
      action: 'B',
      regarding: { namespace: TEAM },
    });
    assertDone(await create(operator, kinds.Event, 'own', event('narwhal.dev/narwhal-operator')));
    assertRefused(await create(operator, kinds.Event, 'others', event('kubelet')), /no events but its own/);
    assertDone(await create(kubernetes, kinds.Event, 'others', event('kubelet')));
    const series = { count: 2, lastObservedTime: '2030-01-01T00:00:00.000000Z' };
    assertRefused(await merge(kinds.Event, 'others', { series }), /no events but its own/);
    assertDone(await merge(kinds.Event, 'own', { series }));
  });

  it('is confined in all that its roles let it write', async () => {
    const manifests = await render({ gateway: { enabled: true, apiUrl: 'https://cache.example.org' } });
    const { matchConstraints } = find(manifests, 'ValidatingAdmissionPolicy', 'narwhal-operator').spec as {
      matchConstraints: { resourceRules: { apiGroups: string[]; resources: string[]; operations: string[] }[] };
    };
    const confined = matchConstraints.resourceRules.flatMap(({ apiGroups, resources, operations }) => {
      assert.deepEqual(operations, ['CREATE', 'UPDATE', 'DELETE']);
      return resources.map((resource) => `${apiGroups[0]}/${resource}`);
    });
    const writable = manifests
      .filter(isOfOperator)
      .flatMap(({ rules }) =>
        (rules as { apiGroups: string[]; resources: string[]; verbs: string[] }[])
          .filter(({ verbs }) => verbs.some((verb) => !['get', 'list', 'watch'].includes(verb)))
          .flatMap(({ apiGroups, resources }) => resources.map((resource) => `${apiGroups[0]}/${resource}`)),
      );
    // A status changes no manifest, and the operator has no other right over those.
    const expected = [...new Set(writable)].filter((it) => it !== 'narwhal.dev/binarycaches/status');
    assert.deepEqual(confined.sort(), expected.sort());
  });

  const isOfOperator = ({ kind, metadata }: Manifest): boolean =>
    ['Role', 'ClusterRole'].includes(kind) && metadata.name.startsWith('narwhal-operator');

  it('alone is confined', async () => {
    assertDone(await create(kubernetes, kinds.ConfigMap, 'by-the-administrator', {}));
  });
});
