import assert from 'node:assert/strict';
import type { Step } from '../../../../../operator/cache/plan/plan.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import { terminating, withSpec } from '../../../../support/live-object.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, podOf, secretsOf } from '../../../../support/operator-fixtures.ts';
import { inShort, settledFor, World } from '../../../../support/operator-world.ts';
import { CACHES } from '../../../../tables/caches.ts';

const storages = (...list: Value[]): Value => ({ storages: list });
const sized = (size: string): Value => storages({ name: 'disk', local: { size } });

/** What is asked of the volume `main-disk`, if anything. */
function askedOfDisk(world: World, spec: Value): { spec: unknown; because: string } | undefined {
  const step = world.plan(cacheOf(spec)).find((it) => it.do === 'apply' && it.object.metadata.name === 'main-disk');
  return step?.do === 'apply' ? { spec: step.object.spec, because: step.because } : undefined;
}

const requests = (storage: string): Value => ({ resources: { requests: { storage } } });

describe('the plan for volumes', () => {
  const DISK = 'PersistentVolumeClaim/main-disk';

  for (const [from, to] of [
    ['10Gi', '20Gi'],
    // This comes back as 1181116006400m.
    ['1.1Gi', '2Gi'],
    ['1.5Gi', '2Gi'],
    ['0.5Ti', '1Ti'],
  ] as const)
    it(`lets one grow from ${from} to ${to}`, () => {
      const world = settledFor(cacheOf(sized(from)));
      const asked = askedOfDisk(world, sized(to));
      assert.deepEqual(asked?.spec, {
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'standard',
        ...requests(to),
      });
      assert.equal(asked?.because, 'what is wanted has changed');
      world.settle(cacheOf(sized(to)));
    });

  it('never lets one shrink', () => {
    const world = settledFor(cacheOf(sized('20Gi')));
    world.settle(cacheOf(sized('10Gi')));
    assert.deepEqual((world.get(DISK).spec as Value).resources, { requests: { storage: '20Gi' } });
  });

  it('leaves one that somebody else has let grow', () => {
    const world = settledFor(cacheOf());
    world.edit(DISK, withSpec(requests('1181116006400000m')));
    assert.equal(askedOfDisk(world, {}), undefined);
  });

  it('leaves one whose size nobody can read', () => {
    const world = settledFor(cacheOf());
    world.edit(DISK, withSpec(requests('much')));
    assert.equal(askedOfDisk(world, {}), undefined);
  });

  it('takes over one of an earlier cache with the class and the access mode that it has', () => {
    const world = settledFor(cacheOf(storages({ name: 'disk', local: { storageClassName: 'fast' } })));
    // Of the earlier cache only its volumes are left.
    for (const key of world.children.keys()) if (!key.startsWith('PersistentVolumeClaim/')) world.children.delete(key);
    const now = storages({ name: 'disk', local: { storageClassName: 'other', accessMode: 'ReadWriteMany' } });
    const kept = { accessModes: ['ReadWriteOnce'], storageClassName: 'fast', ...requests('10Gi') };
    assert.deepEqual(askedOfDisk(world, now)?.spec, kept);
    // Leaving the class out would ask to remove it.
    assert.deepEqual(askedOfDisk(world, storages({ name: 'disk', local: { size: '10Gi' } }))?.spec, kept);
    world.settle(cacheOf(now));
  });

  it('has nothing to do where the server has chosen the class', () => {
    const world = settledFor(cacheOf());
    assert.equal((world.get(DISK).spec as Value).storageClassName, 'standard');
    assert.deepEqual(world.plan(cacheOf()), []);
  });

  it('waits for one that is being deleted, and does nothing after it', () => {
    const cache = cacheOf({ priority: 1, image: 'narwhal:2.0.0', networkPolicy: { enabled: false } });
    const world = settledFor(cacheOf());
    world.edit(DISK, terminating);
    const steps = world.plan(cache);
    assert.deepEqual(inShort(steps), ['apply ConfigMap/main-config', 'wait']);
    assert.equal(steps[1]?.because, 'PersistentVolumeClaim main-disk is still being deleted');
  });

  for (const [policy, owners] of [
    ['Retain', undefined],
    ['Delete', ['uid-of-main']],
  ] as const)
    it(`gives them the owner that reclaimPolicy ${policy} wants, whenever it changes`, () => {
      const world = settledFor(cacheOf({ reclaimPolicy: policy === 'Retain' ? 'Delete' : 'Retain' }));
      world.settle(cacheOf({ reclaimPolicy: policy }));
      for (const name of ['main-db', 'main-disk']) {
        const { ownerReferences } = world.get(`PersistentVolumeClaim/${name}`).metadata;
        assert.deepEqual(
          ownerReferences?.map(({ uid }) => uid),
          owners,
        );
      }
    });
});

describe('the plan for a storage that was removed', () => {
  const two = (reclaimPolicy: string): Cache =>
    cacheOf({ ...storages({ name: 'disk', local: {} }, { name: 'old', local: {} }), reclaimPolicy });
  const one = (reclaimPolicy: string): Cache => cacheOf({ reclaimPolicy });
  const volumes = (steps: Step[]) => inShort(steps).filter((it) => it.includes('PersistentVolumeClaim'));

  it('keeps its volume under Retain', () => {
    assert.deepEqual(volumes(settledFor(two('Retain')).plan(one('Retain'))), []);
  });

  it('deletes its volume under Delete, last of all', () => {
    const steps = settledFor(two('Delete')).plan(one('Delete'));
    assert.deepEqual(volumes(steps), ['delete PersistentVolumeClaim/main-old']);
    assert.equal(inShort(steps).at(-1), 'delete PersistentVolumeClaim/main-old');
    assert.match(steps.at(-1)?.because ?? '', /drained and removed, and reclaimPolicy is Delete/);
  });

  it('keeps its volume as long as a pod mounts it', () => {
    const world = settledFor(two('Delete'));
    const mounting = (claim: string) => [podOf(cacheOf(), 0, { claims: [claim] })];
    assert.deepEqual(volumes(world.plan(one('Delete'), {}, { pods: mounting('main-old') })), []);
    assert.deepEqual(volumes(world.plan(one('Delete'), {}, { pods: mounting('main-disk') })), [
      'delete PersistentVolumeClaim/main-old',
    ]);
  });

  it('does not delete it twice', () => {
    const world = settledFor(two('Delete'));
    world.edit('PersistentVolumeClaim/main-old', terminating);
    assert.deepEqual(volumes(world.plan(one('Delete'))), []);
  });

  it('keeps a volume that an earlier cache of this name has left: nobody has drained that one', () => {
    const world = settledFor(two('Retain'));
    for (const key of world.children.keys()) if (!key.startsWith('PersistentVolumeClaim/')) world.children.delete(key);
    const anew = { ...one('Delete'), metadata: { ...one('Delete').metadata, uid: 'uid-of-its-successor' } };
    assert.deepEqual(
      volumes(world.settle(anew)).filter((it) => it.startsWith('delete')),
      [],
    );
  });

  it('keeps the database in every case', () => {
    const spec = { ...CACHES[0]?.spec };
    const world = new World(secretsOf(cacheOf(spec)));
    world.settle(cacheOf({ reclaimPolicy: 'Delete' }));
    const steps = world.settle(cacheOf(spec));
    assert.ok(volumes(steps).includes('delete PersistentVolumeClaim/main-disk'));
    assert.ok(world.children.has('PersistentVolumeClaim/main-db'));
  });
});
