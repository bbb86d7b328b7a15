// Caches that become larger or smaller: volumes, storages, pods.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { kinds, type Obj, type StatefulSet } from '../../operator/runtime/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace, cacheManifest } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import type { Value } from '../support/manifests.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';
import { givenSecrets, richFleet } from '../tables/rich-caches.ts';

describeWith('kubernetes', 'an operator', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;
  let operator: Operator;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'scale');
    operator = await namespace.operator({ args: ['--status-interval', '0.5'] });
  });
  after(() => namespace?.remove());

  const workload = async (cache: string) => (await namespace.get(kinds.StatefulSet, cache)) as Obj as StatefulSet;
  const requested = async (claim: string) => {
    const { spec } = await namespace.get(kinds.PersistentVolumeClaim, claim);
    return (spec as { resources: { requests: { storage: string } } }).resources.requests.storage;
  };

  describe('whose volumes grow', () => {
    const name = `class-${randomBytes(4).toString('hex')}`;
    const path = `/apis/storage.k8s.io/v1/storageclasses/${name}`;
    const spec = (size: string, more: Value = {}): Value => ({
      storages: [{ name: 'disk', local: { size, storageClassName: name }, ...more }],
    });
    const claim = 'volumes-disk';
    /** What a provisioner does. */
    const provision = async (capacity: string) => {
      await namespace.patch(kinds.PersistentVolumeClaim, claim, { spec: { volumeName: `volume-of-${name}` } });
      const status = { phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: { storage: capacity } };
      await namespace.patch(kinds.PersistentVolumeClaim, claim, { status }, 'status');
    };
    const allowExpansion = (allowVolumeExpansion: boolean) =>
      kubernetes.expect(path, {
        method: 'PATCH',
        type: 'application/merge-patch+json',
        body: { allowVolumeExpansion },
      });

    before(async () => {
      const body = { metadata: { name }, provisioner: 'example.org/none', allowVolumeExpansion: false };
      await kubernetes.expect('/apis/storage.k8s.io/v1/storageclasses', { method: 'POST', body });
      await namespace.cache('volumes', spec('1Gi'));
      await namespace.settled('volumes');
      await provision('1Gi');
    });
    after(() => kubernetes.request(path, { method: 'DELETE' }));

    it('says so where their class does not allow it, and leaves the pods alone', async () => {
      const { metadata } = await workload('volumes');
      await namespace.cache('volumes', { ...spec('2Gi'), priority: 7 });
      const { message } = await namespace.until('volumes', 'StoragesReady', 'False', 'ExpansionNotAllowed');
      assert.match(message, /^storage disk: .* only dynamically provisioned pvc can be resized/);
      await operator.untilReconciled(3);
      assert.equal(await requested(claim), '1Gi');
      assert.equal((await workload('volumes')).metadata.resourceVersion, metadata.resourceVersion);
      // All else goes on.
      const { data } = await namespace.get(kinds.ConfigMap, 'volumes-config');
      assert.match(data?.['cache.yaml'] ?? '', /priority: 7/);
    });

    it('asks for it where their class allows it, and says that they grow until they have', async () => {
      await allowExpansion(true);
      const { message } = await namespace.until('volumes', 'StoragesReady', 'False', 'Resizing');
      assert.equal(message, `volume ${claim} grows from 1Gi to 2Gi`);
      assert.equal(await requested(claim), '2Gi');
      await provision('2Gi');
      await namespace.until('volumes', 'StoragesReady', 'Unknown', 'Unknown');
    });

    it('removes no storage that is not drained', async () => {
      const more = { name: 'more', local: {} };
      const [disk] = spec('2Gi').storages as Value[];
      await namespace.cache('volumes', { storages: [disk, more] });
      await namespace.settled('volumes');
      const without = cacheManifest('volumes', spec('2Gi'));
      const { status, body } = await namespace.tryApply(without);
      assert.equal(status, 422);
      assert.match(body.message ?? '', /a storage can be removed once status\.storages says Drained/);
      // As the servers say it through the operator. It would say otherwise at once.
      await operator.stop();
      const storages = ['disk', 'more'].map((name) => ({ name, phase: 'Drained' }));
      await namespace.patch(BINARY_CACHE, 'volumes', { status: { storages } }, 'status');
      await namespace.apply(without);
      await operator.restart();
      const config = async () => (await namespace.get(kinds.ConfigMap, 'volumes-config')).data?.['cache.yaml'] ?? '';
      await until('the servers are told', async () => !(await config()).includes('more'));
      assert.ok(await namespace.find(kinds.PersistentVolumeClaim, 'volumes-more'));
    });
  });

  it('makes as many pods as kubectl scale says, as far as there may be', async () => {
    await namespace.cache('pods');
    await namespace.settled('pods');
    const scale = (replicas: number) =>
      kubernetes.tryKubectl(['scale', 'bc', 'pods', `--replicas=${replicas}`, '-n', namespace.name]);
    assert.equal((await scale(0)).code, 0);
    await namespace.until('pods', 'Ready', 'False', 'NoReplicas');
    assert.equal((await workload('pods')).spec.replicas, 0);
    assert.match((await scale(2)).stderr, /more than one pod needs database\.postgres/);
    assert.equal((await scale(1)).code, 0);
    await namespace.settled('pods');
    assert.equal((await workload('pods')).spec.replicas, 1);
  });

  it('lets an autoscaler scale the cache itself', async () => {
    for (const [name, data] of Object.entries(givenSecrets())) await namespace.secret(name, data);
    const { httpRoute: _, ...fleet } = richFleet;
    await namespace.cache('fleet', fleet);
    await namespace.settled('fleet');
    const { spec } = await namespace.get(kinds.HorizontalPodAutoscaler, 'fleet');
    const target = { apiVersion: 'narwhal.dev/v1alpha1', kind: 'BinaryCache', name: 'fleet' };
    assert.deepEqual(spec?.scaleTargetRef, target);
    assert.deepEqual([spec?.minReplicas, spec?.maxReplicas], [2, 5]);
    // As its controller does.
    const scale = `${namespace.path(BINARY_CACHE, 'fleet')}/scale`;
    const { status } = await kubernetes.expect(scale);
    assert.match((status as { selector: string }).selector, /app\.kubernetes\.io\/instance=fleet/);
    const body = { spec: { replicas: 4 } };
    await kubernetes.expect(scale, { method: 'PATCH', type: 'application/merge-patch+json', body });
    await until('there are four', async () => (await workload('fleet')).spec.replicas === 4);
    // Whoever applies a manifest without a number leaves it to the autoscaler.
    const { replicas: __, ...silent } = fleet;
    await namespace.cache('fleet', { ...silent, priority: 7 });
    await namespace.settled('fleet');
    assert.equal((await workload('fleet')).spec.replicas, 4);
  });
});
