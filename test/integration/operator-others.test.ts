// What the operator does where others have a say: who changes its objects, has its names, lends accounts, says stop.
import assert from 'node:assert/strict';
import { kinds, type Obj, type StatefulSet } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace, type Found } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

let kubernetes: Kubernetes;
let namespace: CacheNamespace;
let operator: Operator;

/** Declares tests with an operator in a namespace. What it learned of Secrets counts for an hour. */
function describeWithOperator(title: string, tests: () => void): void {
  describeWith('kubernetes', title, () => {
    before(async () => {
      kubernetes = await sharedKubernetes();
      await installCrds(kubernetes);
      namespace = await CacheNamespace.make(kubernetes, 'others');
      operator = await namespace.operator({ args: ['--secrets-interval', '3600', '--status-interval', '0.5'] });
    });
    after(() => namespace?.remove());
    tests();
  });
}

describeWithOperator('an operator among other writers', () => {
  it('sets right what another changes again and again, ever more seldom, and says so', async () => {
    await namespace.cache('fight');
    await namespace.settled('fight');
    const changed = { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: 'fight' }, spec: { replicas: 7 } };
    const isOurs = (set?: Found) => set?.spec?.replicas === 1;
    const undo = () => namespace.apply(changed, 'another');
    const tookMs = await namespace.fight(kinds.StatefulSet, 'fight', { isOurs, undo, times: 3 });
    // It was applied once before, and the fourth time waits for a second, give or take a tenth.
    assert.ok(tookMs > 850, `${tookMs} ms`);
    const { message } = await namespace.until('fight', 'Ready', 'False', 'Contested');
    assert.match(message, /^StatefulSet fight .* something else has changed spec\.replicas \(/);
    assert.equal(await operator.metric('narwhal_operator_api_request_seconds_count', { code: '409' }), 0);
    await namespace.until('fight', 'Ready', 'False', 'Progressing');
  });

  it('makes again what another deletes again and again, ever more seldom', async () => {
    await namespace.cache('deleted');
    await namespace.settled('deleted');
    const undo = () => namespace.delete(kinds.PodDisruptionBudget, 'deleted');
    const isOurs = (budget?: Found) => budget !== undefined;
    const tookMs = await namespace.fight(kinds.PodDisruptionBudget, 'deleted', { isOurs, undo, times: 3 });
    assert.ok(tookMs > 850, `${tookMs} ms`);
  });

  it('does not mind another owner of a key', async () => {
    await namespace.cache('owned');
    await namespace.settled('owned');
    const { metadata } = await namespace.get(kinds.ServiceAccount, 'owned-server');
    const owner = { apiVersion: 'v1', kind: 'ServiceAccount', name: metadata.name, uid: metadata.uid };
    const body = { metadata: { ownerReferences: [owner] } };
    await namespace.patch(kinds.Secret, 'owned-root-key', body);
    await namespace.annotate('owned', { 'narwhal.dev/reconcile': 'now' });
    await operator.untilReconciled(6);
    const before = await operator.writes();
    await operator.untilReconciled(6);
    assert.deepEqual((await operator.writes()).apply, before.apply);
    const { metadata: after } = await namespace.get(kinds.Secret, 'owned-root-key');
    assert.deepEqual(
      after.ownerReferences?.map(({ uid }) => uid),
      [metadata.uid],
    );
  });
});

describeWithOperator('an operator whose way is barred', () => {
  it('leaves alone what has the name that it needs, and goes on when that is gone', async () => {
    const spec = { ports: [{ port: 1 }], selector: { app: 'another' } };
    const { metadata } = await namespace.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'taken' },
      spec,
    });
    await namespace.cache('taken');
    const { message } = await namespace.until('taken', 'Ready', 'False', 'NameConflict');
    assert.match(message, /^Service taken exists and does not belong to this cache/);
    await operator.untilReconciled(3);
    const after = await namespace.get(kinds.Service, 'taken');
    assert.equal(after.metadata.resourceVersion, metadata.resourceVersion);
    assert.equal(await namespace.find(kinds.StatefulSet, 'taken'), undefined);
    await namespace.delete(kinds.Service, 'taken');
    await namespace.settled('taken');
  });

  it('lends no account whose owner has not said so', async () => {
    const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'rich' } };
    const podTemplate = { spec: { serviceAccountName: 'rich' } };
    await namespace.cache('lent', { podTemplate });
    const missing = await namespace.until('lent', 'Ready', 'False', 'ServiceAccountNotAllowed');
    assert.match(missing.message, /rich does not exist/);
    await namespace.apply(account);
    await until('it is found', async () => /label/.test((await namespace.condition('lent', 'Ready'))?.message ?? ''));
    await operator.untilReconciled(3);
    assert.deepEqual([...(await namespace.objects('lent')).keys()], []);
    await namespace.apply({ ...account, metadata: { name: 'rich', labels: { 'narwhal.dev/usable': 'true' } } });
    await namespace.settled('lent');
    const { spec } = (await namespace.get(kinds.StatefulSet, 'lent')) as Obj as StatefulSet;
    assert.equal(spec.template.spec.serviceAccountName, 'rich');
    assert.equal(await namespace.find(kinds.ServiceAccount, 'lent-server'), undefined);
  });

  it('makes nothing of what this version cannot do', async () => {
    await namespace.cache('future', { upstreams: [{ url: 'https://cache.nixos.org' }] });
    const { message } = await namespace.until('future', 'Ready', 'False', 'Unsupported');
    assert.match(message, /^spec\.upstreams\b.* is not supported/);
    await operator.untilReconciled(3);
    assert.deepEqual([...(await namespace.objects('future')).keys()], []);
    await namespace.cache('future');
    await namespace.settled('future');
  });

  it('passes on what the API server says of a pod template, and waits for another one', async () => {
    const podTemplate = (affinity: object) => ({ podTemplate: { spec: { affinity } } });
    await namespace.cache('typo', podTemplate({ podAfinity: {} }));
    const { message } = await namespace.until('typo', 'Ready', 'False', 'ApplyFailed');
    assert.match(message, /podAfinity: field not declared in schema/);
    const failures = (result: string) => operator.metric('narwhal_operator_reconcile_seconds_count', { result });
    await until('it is given up', async () => (await failures('terminal')) > 0);
    assert.equal(await failures('error'), 0);
    await namespace.cache('typo', podTemplate({ podAffinity: {} }));
    await namespace.settled('typo');
  });
});

describeWithOperator('an operator that is told', () => {
  it('to pause does nothing but say so, and goes on afterwards', async () => {
    await namespace.cache('paused');
    await namespace.settled('paused');
    await namespace.annotate('paused', { 'narwhal.dev/paused': 'true' });
    await namespace.until('paused', 'Paused', 'True');
    await namespace.until('paused', 'Ready', 'Unknown', 'Paused');
    const before = await namespace.objects('paused');
    before.delete('Service/paused');
    await namespace.delete(kinds.Service, 'paused');
    await namespace.patch(BINARY_CACHE, 'paused', { spec: { priority: 7 } });
    await operator.untilReconciled(3);
    assert.deepEqual(await namespace.objects('paused'), before);
    await namespace.annotate('paused', { 'narwhal.dev/paused': null });
    await namespace.settled('paused');
    assert.equal(await namespace.condition('paused', 'Paused'), undefined);
    assert.ok(await namespace.find(kinds.Service, 'paused'));
    const { data } = await namespace.get(kinds.ConfigMap, 'paused-config');
    assert.match(data?.['cache.yaml'] ?? '', /priority: 7/);
  });

  it('to look again looks at Secrets too', async () => {
    await namespace.cache('again', { tokens: [{ name: 'push', permissions: ['Write'] }] });
    await namespace.settled('again');
    await namespace.delete(kinds.Secret, 'again-token-push');
    await operator.untilReconciled(5);
    assert.equal(await namespace.find(kinds.Secret, 'again-token-push'), undefined);
    await namespace.annotate('again', { 'narwhal.dev/reconcile': 'now' });
    await until(
      'there is a new token',
      async () => (await namespace.find(kinds.Secret, 'again-token-push')) !== undefined,
    );
  });
});
