// Several operators: one leads and the others wait, and where two lead all the same, nothing is lost.
import assert from 'node:assert/strict';
import { kinds, type Lease, type Obj } from '../../operator/runtime/index.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const LEASE = 'narwhal-operator';
const SPEC = { tokens: [{ name: 'push', permissions: ['Write'] }] };

describeWith('kubernetes', 'two operators', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
  });
  beforeEach(async () => {
    namespace = await CacheNamespace.make(kubernetes, 'replicas');
  });
  afterEach(() => namespace?.remove());

  const leads = async (operator: Operator) => (await operator.metric('narwhal_operator_leader')) === 1;
  const lease = async () => ((await namespace.get(kinds.Lease, LEASE)) as Obj as Lease).spec ?? {};

  /** A leader and one that waits, both ready. */
  async function pair(...args: string[]): Promise<{ first: Operator; second: Operator }> {
    const first = await namespace.operator({ args: [...args, '--identity', 'first'] });
    await until('the first leads', () => leads(first));
    const second = await namespace.operator({ args: [...args, '--identity', 'second'] });
    assert.equal((await second.probe('readyz')).status, 200);
    await namespace.cache('main', SPEC);
    await namespace.settled('main');
    assert.equal(await leads(second), false);
    const writes = Object.values(await second.writes());
    assert.deepEqual(
      writes,
      writes.map(() => 0),
    );
    return { first, second };
  }

  it('that both lead make one cache, with one set of keys, and come to rest', async () => {
    const both = await Promise.all(['a', 'b'].map((name) => namespace.operator({ args: ['--lease', name] })));
    const rest = () => Promise.all(both.map((operator) => operator.untilReconciled(3)));
    await namespace.cache('main', SPEC);
    await namespace.settled('main');
    await rest();
    const [objects, secrets] = [await namespace.objects(), await namespace.secrets('main')];
    assert.deepEqual(Object.keys(secrets).sort(), ['main-root-key', 'main-signing-key', 'main-token-push']);
    assert.equal([...objects.keys()].length, 12);
    const before = await namespace.versions('main');
    await rest();
    assert.deepEqual(await namespace.versions('main'), before);
    await namespace.cache('main', { ...SPEC, priority: 7, image: 'narwhal:other' });
    await namespace.settled('main');
    await rest();
    const after = await namespace.versions('main');
    await rest();
    assert.deepEqual(await namespace.versions('main'), after);
    assert.deepEqual(await namespace.secrets('main'), secrets);
    const failed = await Promise.all(
      both.map((it) => it.metric('narwhal_operator_reconcile_seconds_count', { result: 'error' })),
    );
    assert.deepEqual(failed, [0, 0]);
  });

  it('hand over when the leader is told to end, long before its lease does', async () => {
    const { first, second } = await pair('--lease-duration', '600', '--renew-deadline', '500', '--lease-retry', '0.1');
    const { leaseTransitions: before = 0 } = await lease();
    assert.equal(await first.stop(), 0);
    await until('the second leads', () => leads(second));
    const { holderIdentity, leaseTransitions } = await lease();
    assert.match(holderIdentity ?? '', /^second_/);
    assert.equal(leaseTransitions, before + 1);
    await worksOn(second);
  });

  it('hand over when the leader is killed, once its lease has ended and not before', async () => {
    const { first, second } = await pair('--lease-duration', '5', '--renew-deadline', '4', '--lease-retry', '0.1');
    await first.kill();
    const last = await lease();
    assert.match(last.holderIdentity ?? '', /^first_/);
    await until('the second leads', () => leads(second));
    const { acquireTime = '', leaseTransitions } = await lease();
    const silenceMs = Date.parse(acquireTime) - Date.parse(last.renewTime ?? '');
    assert.ok(silenceMs >= 5000, `${silenceMs} ms`);
    assert.equal(leaseTransitions, (last.leaseTransitions ?? 0) + 1);
    await worksOn(second);
  });

  /** What the new leader was not told while it waited is done, and nothing is done twice. */
  async function worksOn(operator: Operator): Promise<void> {
    const before = await namespace.versions('main');
    await operator.untilReconciled(3);
    assert.deepEqual(await namespace.versions('main'), before);
    await namespace.cache('main', { ...SPEC, priority: 7 });
    await namespace.settled('main');
    assert.match((await namespace.get(kinds.ConfigMap, 'main-config')).data?.['cache.yaml'] ?? '', /priority: 7/);
  }
});
