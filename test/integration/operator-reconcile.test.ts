// What the operator makes of caches, and that it leaves alone what is as it should be.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { kinds, type Obj, type StatefulSet } from '../../operator/runtime/index.ts';
import { CacheNamespace, type ManifestOf } from '../support/cache-namespace.ts';
import { installForeignKinds } from '../support/chart-cluster.ts';
import { installCrds } from '../support/crds.ts';
import { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { type Operator, QUIET_LEASE } from '../support/operator.ts';
import { givenSecrets, richDisk, richFleet } from '../tables/rich-caches.ts';

const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
const NOTHING = { apply: 0, create: 0, replace: 0, patch: 0, delete: 0 };

/** The BinaryCaches of each file, under names of their own so that all of them fit into one namespace. */
function examples(): ManifestOf[] {
  return readdirSync(EXAMPLES)
    .filter((file) => file.endsWith('.yaml'))
    .flatMap((file) => {
      const documents = parseAllDocuments(readFileSync(path.join(EXAMPLES, file), 'utf8'));
      const caches = documents.map((it) => it.toJS() as ManifestOf).filter(({ kind }) => kind === 'BinaryCache');
      return caches.map((cache) => ({ ...cache, metadata: { name: path.basename(file, '.yaml') } }));
    });
}

describeWith('kubernetes', 'the operator', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;
  let operator: Operator;
  const caches: ManifestOf[] = examples();

  before(async () => {
    kubernetes = await Kubernetes.start();
    await installCrds(kubernetes);
    await installForeignKinds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'reconcile');
    for (const [name, data] of Object.entries(givenSecrets())) await namespace.secret(name, data);
    operator = await namespace.operator({ args: QUIET_LEASE });
  });
  after(async () => {
    await namespace?.remove();
    await kubernetes?.remove();
  });

  /** Looks at every cache three times more. */
  const looks = (): Promise<void> => operator.untilReconciled(3 * caches.length);
  const versions = () => Promise.all(caches.map(({ metadata }) => namespace.versions(metadata.name)));

  it('makes everything that the examples ask for', async () => {
    for (const cache of caches) await namespace.apply(cache);
    for (const { metadata } of caches) await namespace.settled(metadata.name);
    assert.deepEqual([...(await namespace.objects('laptop')).keys()].sort(), [
      'ConfigMap/laptop-config',
      'NetworkPolicy/laptop',
      'PersistentVolumeClaim/laptop-db',
      'PersistentVolumeClaim/laptop-disk',
      'PodDisruptionBudget/laptop',
      'Secret/laptop-root-key',
      'Secret/laptop-signing-key',
      'Secret/laptop-token-push',
      'Service/laptop',
      'Service/laptop-peers',
      'ServiceAccount/laptop-server',
      'StatefulSet/laptop',
    ]);
  });

  it('makes everything that caches with all fields ask for', async () => {
    const rich = { disk: richDisk, fleet: richFleet };
    for (const [name, spec] of Object.entries(rich)) {
      const { apiVersion, kind, metadata } = await namespace.cache(name, spec);
      caches.push({ apiVersion, kind, metadata: { name: metadata.name } });
      await namespace.settled(name);
    }
    const disk = [...(await namespace.objects('disk')).keys()];
    const fleet = [...(await namespace.objects('fleet')).keys()];
    for (const key of [
      'Ingress/disk',
      'ServiceMonitor/disk',
      'Secret/disk-token-ci',
      'PersistentVolumeClaim/disk-large',
    ])
      assert.ok(disk.includes(key), key);
    for (const key of ['HorizontalPodAutoscaler/fleet', 'HTTPRoute/fleet']) assert.ok(fleet.includes(key), key);
    assert.deepEqual(
      fleet.filter((key) => /^(Secret|PersistentVolumeClaim)/.test(key)),
      [],
    );
  });

  it('writes nothing for caches that are as they should be', async () => {
    await looks();
    const [before, then] = [await versions(), await operator.writes()];
    await looks();
    assert.deepEqual(await operator.writes(), then);
    assert.deepEqual(await versions(), before);
  });

  it('writes nothing when it is started again, but that it leads', async () => {
    assert.equal(await operator.stop(), 0);
    const before = await versions();
    await operator.restart();
    await looks();
    assert.deepEqual(await operator.writes(), { ...NOTHING, replace: 1 });
    assert.deepEqual(await versions(), before);
  });

  it('leaves what others have added', async () => {
    const metadata = { annotations: { 'example.org/owner': 'b' }, labels: { injected: 'by-a-tool' } };
    const template = { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': '2030-01-01T00:00:00Z' } } };
    const before = await operator.writes();
    const patched = [
      await namespace.patch(kinds.Service, 'laptop', { metadata }),
      await namespace.patch(kinds.Secret, 'laptop-root-key', { metadata }),
      await namespace.patch(kinds.StatefulSet, 'laptop', { metadata, spec: { template } }),
      await namespace.patch(kinds.PersistentVolumeClaim, 'laptop-disk', { metadata }),
    ];
    await looks();
    assert.deepEqual(await operator.writes(), before);
    const now = await namespace.versions('laptop');
    for (const { kind, metadata: it } of patched) assert.equal(now[`${kind}/${it.name}`], it.resourceVersion);
    // A change of ours passes them by.
    await namespace.cache('laptop', { image: 'narwhal:other', tokens: [{ name: 'push', permissions: ['Write'] }] });
    await namespace.settled('laptop');
    const set = await namespace.get(kinds.StatefulSet, 'laptop');
    assert.equal(set.metadata.labels?.injected, 'by-a-tool');
    const { metadata: pods, spec } = (set as Obj as StatefulSet).spec.template;
    assert.equal(pods?.annotations?.['kubectl.kubernetes.io/restartedAt'], '2030-01-01T00:00:00Z');
    assert.equal(spec.containers[0]?.image, 'narwhal:other');
  });
});
