import assert from 'node:assert/strict';
import { hasLivedBefore, type Step } from '../../../../../operator/cache/plan/plan.ts';
import type { AnyObj } from '../../../../../operator/runtime/index.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, secretOf, secretsOf } from '../../../../support/operator-fixtures.ts';
import { inShort, settledFor, World } from '../../../../support/operator-world.ts';

const ci: Value = { name: 'ci', permissions: ['Write'] };

describe('the plan for keys', () => {
  const cache = cacheOf({ tokens: [ci] });

  /** What is generated where a world has everything but the Secrets. */
  const generatedIn = (world: World, of = cache): string[] => {
    world.secrets.clear();
    return inShort(world.plan(of)).filter((it) => it.startsWith('generate'));
  };

  it('makes each once: clients trust the first', () => {
    assert.deepEqual(generatedIn(settledFor(cache)), ['generate Secret/main-token-ci']);
  });

  for (const [title, world, publicKeys] of [
    ['the volume of the database', onlyChild('PersistentVolumeClaim/main-db'), []],
    ['a StatefulSet', onlyChild('StatefulSet/main'), []],
    ['a public key in the status', new World(), ['k:x']],
  ] as const)
    it(`knows a cache that has lived before: ${title}`, () => {
      const lived = { ...cache, status: { publicKeys: [...publicKeys] } };
      assert.equal(hasLivedBefore(lived, world.children), true);
      assert.deepEqual(generatedIn(world, lived), ['generate Secret/main-token-ci']);
    });

  it('knows a cache that is new', () => {
    assert.equal(hasLivedBefore(cache, new Map()), false);
    assert.equal(hasLivedBefore({ ...cache, status: { publicKeys: [] } }, new Map()), false);
    // What is left of a creation that was interrupted before the volume.
    assert.equal(hasLivedBefore(cache, onlyChild('ConfigMap/main-config').children), false);
  });

  it('makes the one that is missing while the cache is new', () => {
    const world = new World(secretsOf(cache).filter(({ metadata }) => metadata.name !== 'main-signing-key'));
    assert.deepEqual(inShort(world.plan(cache)), ['generate Secret/main-signing-key']);
  });

  it('makes no other in place of one that cannot be used', () => {
    const world = new World([secretOf('main-signing-key', { 'signing-key': 'garbage' })]);
    const steps = inShort(world.settle(cacheOf()));
    assert.deepEqual(
      steps.filter((it) => it.startsWith('generate')),
      ['generate Secret/main-root-key'],
    );
  });

  it('makes none to sign with where others sign', () => {
    const signed = cacheOf({ signing: { mode: 'SelfSigned' } });
    assert.deepEqual(
      inShort(new World().settle(signed)).filter((it) => it.startsWith('generate')),
      ['generate Secret/main-root-key'],
    );
  });

  it('makes one for a cache whose pushers have signed until now', () => {
    const signed = cacheOf({ signing: { mode: 'SelfSigned' } }, {}, { publicKeys: [`a-pusher-1:${'A'.repeat(43)}=`] });
    const world = settledFor(signed);
    const managed = cacheOf({}, {}, signed.status);
    const steps = inShort(world.settle(managed));
    assert.deepEqual(steps.slice(0, 1), ['generate Secret/main-signing-key']);
    assert.ok(steps.includes('apply StatefulSet/main'), 'the pods get it');
    // It has signed since: it is never made again.
    assert.deepEqual(generatedIn(world, managed), []);
  });

  it('makes none where nobody knows what the servers were told', () => {
    const world = settledFor(cacheOf({ signing: { mode: 'SelfSigned' } }));
    for (const text of ['spec: [', 'spec: {signing: SelfSigned}', '']) {
      world.edit('ConfigMap/main-config', (it) => ({ ...it, data: { 'cache.yaml': text } }));
      assert.deepEqual(
        inShort(world.plan(cacheOf())).filter((it) => it.startsWith('generate')),
        [],
        text,
      );
    }
  });

  it('gives keys the owner that reclaimPolicy wants, whenever it changes, and leaves tokens', () => {
    const world = settledFor(cache);
    const withPolicy = (reclaimPolicy: string) => cacheOf({ tokens: [ci], reclaimPolicy });
    const owners = () =>
      ['main-root-key', 'main-signing-key', 'main-token-ci'].map((name) =>
        world.secrets.get(name)?.metadata.ownerReferences?.map(({ uid }) => uid),
      );
    const owned = ['own Secret/main-root-key', 'own Secret/main-signing-key'];
    assert.deepEqual(owners(), [undefined, undefined, ['uid-of-main']]);
    const own = (steps: Step[]) => inShort(steps).filter((it) => it.startsWith('own'));
    assert.deepEqual(own(world.settle(withPolicy('Delete'))), owned);
    assert.deepEqual(owners(), [['uid-of-main'], ['uid-of-main'], ['uid-of-main']]);
    assert.deepEqual(own(world.settle(withPolicy('Retain'))), owned);
    assert.deepEqual(owners(), [[], [], ['uid-of-main']]);
  });

  it('leaves Secrets that somebody else made under their names', () => {
    const world = new World(secretsOf(cache).map(({ metadata, ...it }) => ({ ...it, metadata: bare(metadata) })));
    const steps = world.settle(cacheOf({ tokens: [ci], reclaimPolicy: 'Delete' }));
    assert.deepEqual(
      inShort(steps).filter((it) => it.includes('Secret/')),
      [],
    );
  });

  function bare({ labels: _, ownerReferences: __, ...metadata }: AnyObj['metadata']): AnyObj['metadata'] {
    return metadata;
  }

  function onlyChild(key: string): World {
    const world = settledFor(cache);
    for (const other of world.children.keys()) if (other !== key) world.children.delete(other);
    return world;
  }
});
