// Caches and namespaces that are deleted: what goes, what stays, and that nothing holds it up.
import assert from 'node:assert/strict';
import { kinds } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import { describeWithOwnKubernetes, Kubernetes } from '../support/kubernetes.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';

/** Of kube-controller-manager: what deletes. */
const CONTROLLERS = [
  'namespace-controller',
  'garbage-collector-controller',
  'persistentvolumeclaim-protection-controller',
];
const SPEC = { tokens: [{ name: 'push', permissions: ['Write'] }] };
const ERROR = 50;

describeWithOwnKubernetes('an operator whose caches are deleted', () => {
  let kubernetes: Kubernetes;
  let home: CacheNamespace;
  let doomed: CacheNamespace;
  let operator: Operator;

  before(async () => {
    kubernetes = await Kubernetes.start();
    await installCrds(kubernetes);
    home = await CacheNamespace.make(kubernetes, 'home');
    doomed = await CacheNamespace.make(kubernetes, 'doomed');
    operator = await home.operator({ args: ['--watch-namespaces', `${home.name},${doomed.name}`] });
  });
  after(async () => {
    await home?.remove();
    await kubernetes?.remove();
  });

  const isGone =
    ({ name }: CacheNamespace) =>
    async () =>
      (await kubernetes.request(`/api/v1/namespaces/${name}`)).status === 404;
  const deleteNamespace = ({ name }: CacheNamespace) =>
    kubernetes.expect(`/api/v1/namespaces/${name}`, { method: 'DELETE' });
  const errors = async () => (await operator.lines()).filter(({ level }) => level >= ERROR);

  it('creates nothing in a namespace that is being deleted, and does not insist', async () => {
    await doomed.cache('main', SPEC);
    await home.cache('main', SPEC);
    for (const namespace of [doomed, home]) await namespace.settled('main');
    // No controller runs yet: the namespace is about to go for as long as it takes.
    await deleteNamespace(doomed);
    const refused = () => operator.metric('narwhal_operator_api_request_seconds_count', { code: '403' });
    await doomed.delete(kinds.Service, 'main');
    await until('it was refused', async () => (await refused()) > 0);
    await operator.untilReconciled(3);
    const before = await refused();
    await operator.untilReconciled(10);
    assert.equal(await refused(), before);
    assert.deepEqual(await errors(), []);
  });

  it('lets the namespace go', async () => {
    await kubernetes.startControllerManager({ controllers: CONTROLLERS });
    await until('the namespace is gone', isGone(doomed));
    assert.deepEqual(await errors(), []);
    await operator.untilReconciled(3);
    assert.equal(operator.process.running, true);
  });

  it('keeps data and keys, which a new cache of the name takes over', async () => {
    await home.cache('kept', SPEC);
    await home.settled('kept');
    const [objects, { status }] = [await home.objects('kept'), await home.get(BINARY_CACHE, 'kept')];
    await home.delete(BINARY_CACHE, 'kept');
    const stay = [
      'PersistentVolumeClaim/kept-db',
      'PersistentVolumeClaim/kept-disk',
      'Secret/kept-root-key',
      'Secret/kept-signing-key',
    ];
    await until('all else is gone', async () => (await home.objects('kept')).size === stay.length);
    assert.deepEqual([...(await home.objects('kept')).keys()].sort(), stay);
    await home.cache('kept', SPEC);
    await home.settled('kept');
    const again = await home.objects('kept');
    for (const key of stay) {
      assert.equal(again.get(key)?.metadata.uid, objects.get(key)?.metadata.uid, key);
      assert.deepEqual(again.get(key)?.data, objects.get(key)?.data, key);
    }
    assert.deepEqual((await home.get(BINARY_CACHE, 'kept')).status?.publicKeys, status?.publicKeys);
    // What was generated of no consequence to others is new.
    assert.notDeepEqual(again.get('Secret/kept-token-push')?.data, objects.get('Secret/kept-token-push')?.data);
  });

  it('lets data and keys go where the cache says so', async () => {
    await home.cache('gone', { ...SPEC, reclaimPolicy: 'Delete' });
    await home.settled('gone');
    const owned = async () =>
      [...(await home.objects('gone')).values()].every(({ metadata }) => metadata.ownerReferences);
    await until('the keys are owned', owned);
    await home.delete(BINARY_CACHE, 'gone');
    await until('everything is gone', async () => (await home.objects('gone')).size === 0);
    assert.deepEqual(await errors(), []);
  });

  it('holds up no namespace while it does not run', async () => {
    await home.cache('last', { ...SPEC, reclaimPolicy: 'Delete' });
    await home.settled('last');
    await operator.kill();
    await deleteNamespace(home);
    await until('the namespace is gone', isGone(home));
  });
});
