// The operator has the rights that the chart gives it and no others, through a life that needs every one of them.
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { kinds } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace, type Found } from '../support/cache-namespace.ts';
import { chartFolder, environmentOf, find, helm, render } from '../support/chart.ts';
import { installForeignKinds, makeNamespace } from '../support/chart-cluster.ts';
import { type Rights, rightsOf } from '../support/chart-rights.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import type { Value } from '../support/manifests.ts';
import { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { givenSecrets, richDisk, richFleet } from '../tables/rich-caches.ts';

const SYSTEM = 'narwhal-system';
const ACCOUNT = { serviceAccount: 'narwhal-operator', namespace: SYSTEM };

/** A request of the operator, as the API server's audit log has it. */
interface Audited {
  readonly verb: string;
  readonly objectRef?: {
    readonly resource: string;
    readonly apiGroup?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code: number };
}

/** Names what a right is about, as rightsOf() does: `statefulsets.apps`, `binarycaches.narwhal.dev/status`. */
function resourceOf({ resource, apiGroup, subresource }: NonNullable<Audited['objectRef']>): string {
  return [`${resource}${apiGroup ? `.${apiGroup}` : ''}`, subresource].filter(Boolean).join('/');
}

/** The rights that no request has needed, as `verb resource`. What is applied and is new needs `create` too. */
function unused(rights: Rights, requests: readonly Audited[], namespace: string): string[] {
  return Object.entries(rights).flatMap(([key, verbs]) => {
    const [resource, names] = key.replace(']', '').split(' [');
    const concerning = requests.filter(({ objectRef }) => {
      if (!objectRef || resourceOf(objectRef) !== resource) return false;
      if (names !== undefined && !names.split(' ').includes(objectRef.name ?? '')) return false;
      return objectRef.namespace === undefined || objectRef.namespace === namespace;
    });
    const isUsed = (right: string) =>
      concerning.some(
        ({ verb, responseStatus }) =>
          verb === right || (right === 'create' && verb === 'patch' && responseStatus?.code === 201),
      );
    return verbs
      .split(' ')
      .filter((right) => !isUsed(right))
      .map((right) => `${right} ${key}`);
  });
}

describeWithOwnKubernetes('an operator with the rights of the chart', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;
  let operator: Operator;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-audit-'));
    const user = `system:serviceaccount:${SYSTEM}:${ACCOUNT.serviceAccount}`;
    const rules = [{ level: 'Metadata', users: [user], omitStages: ['RequestReceived'] }, { level: 'None' }];
    const policy = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', rules };
    await writeFile(path.join(folder, 'policy.yaml'), JSON.stringify(policy));
    kubernetes = await Kubernetes.start({
      apiServerFlags: [
        `--audit-policy-file=${path.join(folder, 'policy.yaml')}`,
        `--audit-log-path=${path.join(folder, 'audit.log')}`,
      ],
    });
    await installForeignKinds(kubernetes);
    await makeNamespace(kubernetes, SYSTEM);
    namespace = await CacheNamespace.make(kubernetes, 'rights');
    const values = {
      watchNamespaces: [namespace.name],
      gateway: { enabled: true, apiUrl: 'https://cache.example.org' },
    };
    await helm(['install', 'narwhal', chartFolder, '-n', SYSTEM], { kubernetes, values });
    const deployment = find(await render(values, { namespace: SYSTEM }), 'Deployment', 'narwhal-operator');
    const env = Object.fromEntries(
      Object.entries(environmentOf(deployment)).filter(([, value]) => value !== undefined),
    );
    for (const [name, data] of Object.entries(givenSecrets())) await namespace.secret(name, data);
    operator = await Operator.start({
      kubeconfig: await kubernetes.kubeconfigFor(ACCOUNT),
      namespace: SYSTEM,
      env: env as Record<string, string>,
    });
  });
  after(async () => {
    await operator?.remove();
    await kubernetes?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  async function audited(): Promise<Audited[]> {
    const lines = (await readFile(path.join(folder, 'audit.log'), 'utf8')).split('\n');
    return lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line) as Audited);
  }

  it('looks after caches from their beginning to their end, and is refused nothing', async () => {
    const [fast, ...storages] = richDisk.storages as Value[];
    // What was given up may go at any time.
    await namespace.cache('disk', { ...richDisk, storages: [{ ...fast, mode: 'Abandoned' }, ...storages] });
    await namespace.cache('fleet', richFleet);
    for (const name of ['disk', 'fleet']) await namespace.settled(name);
    // Less of everything.
    const { ingress: _, networkPolicy: __, monitoring: ___, strategy: ____, ...disk } = richDisk;
    const account = { metadata: { name: 'usable', labels: { 'narwhal.dev/usable': 'true' } } };
    await namespace.apply({ apiVersion: 'v1', kind: 'ServiceAccount', ...account });
    await namespace.cache('disk', {
      ...disk,
      storages,
      networkPolicy: { enabled: false },
      podTemplate: { spec: { serviceAccountName: 'usable' } },
    });
    const { autoscaling: _____, httpRoute: ______, ...fleet } = richFleet;
    await namespace.cache('fleet', fleet);
    const config = async () => (await namespace.get(kinds.ConfigMap, 'disk-config')).data?.['cache.yaml'] ?? '';
    await until('the servers are told', async () => !(await config()).includes('fast'));
    // A token that is no longer listed leaves no Secret behind.
    await namespace.cache('quiet', { tokens: [{ name: 'ci', permissions: ['Read'] }] });
    await namespace.settled('quiet');
    await namespace.cache('quiet', { tokens: [] });
    await until('its Secret is gone', async () => !(await namespace.find(kinds.Secret, 'quiet-token-ci')));
    // Not in the middle of a plan, which would make the set anew with what it has seen before.
    await namespace.settled('disk');
    // Servers keep a storage until they say that it is empty. There are none here, and with the set they need not be asked.
    await namespace.delete(kinds.StatefulSet, 'disk');
    const gone = [
      'Ingress/disk',
      'NetworkPolicy/disk',
      'ServiceMonitor/disk',
      'ServiceAccount/disk-server',
      'HorizontalPodAutoscaler/fleet',
      'HTTPRoute/fleet',
    ];
    await until('what is no longer wanted is gone', async () => {
      const objects = await namespace.objects();
      const isLeaving = objects.get('PersistentVolumeClaim/disk-fast')?.metadata.deletionTimestamp !== undefined;
      return isLeaving && gone.every((key) => !objects.has(key));
    });
    // What happens twice is one event that counts, unless there were many events before.
    const isOurs = (budget?: Found) => budget?.spec?.maxUnavailable === 1;
    const undo = () => namespace.patch(kinds.PodDisruptionBudget, 'quiet', { spec: { maxUnavailable: 2 } });
    await namespace.fight(kinds.PodDisruptionBudget, 'quiet', { isOurs, undo, times: 2 });
    for (const name of ['disk', 'fleet', 'quiet']) await namespace.delete(BINARY_CACHE, name);
    const routes = `/api/v1/namespaces/${SYSTEM}/configmaps/narwhal-routes.${namespace.name}`;
    await until('no route is left', async () => (await kubernetes.request(routes)).status === 404);
    await until('an event counts', async () =>
      (await audited()).some(({ verb, objectRef }) => verb === 'patch' && objectRef?.resource === 'events'),
    );
    assert.equal(await operator.stop(), 0);
    const refused = (await audited()).filter(({ responseStatus }) => [401, 403].includes(responseStatus?.code ?? 0));
    assert.deepEqual(refused, []);
    const errors = (await operator.lines()).filter(({ level }) => level >= 50);
    assert.deepEqual(errors, []);
  });

  it('has needed each of its rights', async () => {
    const requests = await audited();
    for (const place of [namespace.name, SYSTEM])
      assert.deepEqual(unused(await rightsOf(kubernetes, ACCOUNT, place), requests, place), [], place);
  });
});
