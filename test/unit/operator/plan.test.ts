import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { secretNeeds } from '../../../operator/cache/keys.ts';
import { hasLivedBefore, type Step } from '../../../operator/cache/plan.ts';
import type { Cache } from '../../../operator/cache/types.ts';
import type { AnyObj } from '../../../operator/runtime/index.ts';
import { anyCache } from '../../support/cache-arbitrary.ts';
import type { Value } from '../../support/manifests.ts';
import { cacheOf, cachesOf, secretOf, secretsOf } from '../../support/operator-fixtures.ts';
import { World } from '../../support/operator-world.ts';
import { CACHES } from '../../tables/caches.ts';

const EXAMPLES = path.join(import.meta.dirname, '../../../examples');

const ci: Value = { name: 'ci', permissions: ['Write'] };

/** Steps in short: what is done to what. */
function inShort(steps: readonly Step[]): string[] {
  return steps.map((step) => {
    if (step.do === 'wait') return 'wait';
    if (step.do === 'generate' || step.do === 'own') return `${step.do} Secret/${step.need.name}`;
    return `${step.do} ${step.object.kind}/${step.object.metadata.name}`;
  });
}

/** A world with the Secrets that a cache was given, and none of those that are generated. */
function worldFor(cache: Cache): World {
  const needs = secretNeeds(cache);
  const isGiven = (name: string) => needs.some((need) => need.name === name && !need.isGenerated);
  return new World(secretsOf(cache).filter(({ metadata }) => isGiven(metadata.name)));
}

/** A world in which nothing is left to do for a cache. */
function settledFor(cache: Cache): World {
  const world = worldFor(cache);
  world.settle(cache);
  return world;
}

describe('the plan for a new cache', () => {
  const cache = cacheOf({ tokens: [ci] });

  it('makes keys, then tokens, then what pods need, then the pods', () => {
    const world = new World();
    assert.deepEqual(inShort(world.settle(cache)), [
      'generate Secret/main-root-key',
      'generate Secret/main-signing-key',
      'generate Secret/main-token-ci',
      'apply ServiceAccount/main-server',
      'apply ConfigMap/main-config',
      'apply PersistentVolumeClaim/main-db',
      'apply PersistentVolumeClaim/main-disk',
      'apply Service/main',
      'apply Service/main-peers',
      'apply NetworkPolicy/main',
      'apply StatefulSet/main',
      'apply PodDisruptionBudget/main',
    ]);
    assert.deepEqual(world.plan(cache), []);
  });

  it('tells clients of a token the key that was made before it', () => {
    const world = settledFor(cache);
    const { publicKeys } = world.observe(cache).secrets;
    assert.equal(publicKeys.length, 1);
    const conf = Buffer.from(world.secrets.get('main-token-ci')?.data?.['nix.conf'] ?? '', 'base64').toString();
    assert.ok(conf.includes(`extra-trusted-public-keys = ${publicKeys[0]}\n`));
  });

  it('says of each object that it is new', () => {
    for (const step of worldFor(cache).settle(cache)) if (step.do === 'apply') assert.ok(step.isNew);
  });

  it('generates nothing that the manifest gives, and goes on where it is missing', () => {
    const given = cacheOf({
      rootSecretRef: { name: 'root' },
      signing: { secretRefs: [{ name: 'key' }] },
      tokens: [{ ...ci, secretRef: { name: 'token' } }],
    });
    const steps = inShort(new World().settle(given));
    assert.deepEqual(
      steps.filter((it) => it.startsWith('generate')),
      [],
    );
    assert.ok(steps.includes('apply StatefulSet/main'));
  });
});

describe('after its steps, a plan', () => {
  const examples = readdirSync(EXAMPLES).flatMap((file) =>
    cachesOf(readFileSync(path.join(EXAMPLES, file), 'utf8')).map((cache) => ({
      title: `examples/${file}`,
      cache,
    })),
  );
  const rich = CACHES.map(({ title, name, spec }) => ({ title, cache: cacheOf(spec, { name }) }));
  for (const { title, cache } of [...examples, ...rich])
    it(`has nothing left to do: ${title}`, () => {
      const world = worldFor(cache);
      assert.ok(world.settle(cache).length > 0);
      assert.deepEqual(world.plan(cache), []);
    });

  it('has nothing left to do, whatever the cache', () => {
    fc.assert(
      fc.property(anyCache, (cache) => {
        assert.deepEqual(settledFor(cache).plan(cache), []);
      }),
      { numRuns: 100 },
    );
  });

  it('leads from any cache to any other of its name, and ends', () => {
    fc.assert(
      fc.property(anyCache, anyCache, (one, { spec }) => {
        const other = { ...one, spec };
        const world = new World([...secretsOf(one), ...secretsOf(other)]);
        world.settle(one);
        world.settle(other);
        assert.deepEqual(world.plan(other), []);
      }),
      { numRuns: 100 },
    );
  });
});

type Change = (object: AnyObj) => AnyObj;

const withSpec =
  (change: Value): Change =>
  (object) => ({ ...object, spec: { ...(object.spec as Value), ...change } });

const withLabels =
  (change: Readonly<Record<string, string>>): Change =>
  (object) => ({ ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...change } } });

describe('the plan when somebody else changes something', () => {
  const cache = cacheOf({
    ...CACHES[0]?.spec,
    monitoring: { serviceMonitor: { enabled: true } },
    podTemplate: { spec: { priorityClassName: 'high' } },
  });

  const CHANGES: readonly (readonly [string, Change])[] = [
    ['ServiceAccount/main-server', (it) => ({ ...it, automountServiceAccountToken: true })],
    ['ConfigMap/main-config', (it) => ({ ...it, data: { 'cache.yaml': 'spec: {}' } })],
    ['PersistentVolumeClaim/main-nfs', withLabels({ 'narwhal.dev/storage': 'other' })],
    ['Service/main', withSpec({ selector: { app: 'other' } })],
    ['Service/main-peers', withSpec({ publishNotReadyAddresses: false })],
    ['NetworkPolicy/main', withSpec({ ingress: [{}] })],
    ['StatefulSet/main', withSpec({ replicas: 7 })],
    ['PodDisruptionBudget/main', withSpec({ maxUnavailable: 0 })],
    ['HorizontalPodAutoscaler/main', withSpec({ maxReplicas: 100 })],
    ['Ingress/main', withSpec({ rules: [] })],
    ['ServiceMonitor/main', withSpec({ endpoints: [] })],
  ];

  for (const [key, change] of CHANGES)
    it(`puts it right, and nothing else: ${key}`, () => {
      const world = settledFor(cache);
      world.edit(key, change);
      const steps = world.plan(cache);
      assert.deepEqual(inShort(steps), [`apply ${key}`]);
      assert.deepEqual(
        steps.map(({ because }) => because),
        ['something else has changed it'],
      );
      world.settle(cache);
    });

  it('has a change for every object of a cache with everything', () => {
    assert.deepEqual(CHANGES.map(([key]) => key).sort(), [...settledFor(cache).children.keys()].sort());
  });

  it('leaves what nobody asked about', () => {
    const world = settledFor(cache);
    for (const key of world.children.keys()) world.edit(key, withLabels({ 'example.org/cost-centre': '7' }));
    world.edit('Service/main', withSpec({ sessionAffinity: 'ClientIP' }));
    assert.deepEqual(world.plan(cache), []);
  });

  it('makes anew what is gone', () => {
    const world = settledFor(cache);
    world.children.delete('Service/main');
    const [step] = world.plan(cache);
    assert.ok(step?.do === 'apply' && step.isNew);
    assert.equal(step.because, 'it does not exist');
  });
});

describe('the plan when the manifest changes', () => {
  it('tells a field that is no longer wanted from one that somebody has added', () => {
    const before = cacheOf({ podTemplate: { spec: { priorityClassName: 'high' } } });
    const world = settledFor(before);
    const steps = world.plan(cacheOf());
    assert.deepEqual(inShort(steps), ['apply StatefulSet/main']);
    assert.match(steps[0]?.because ?? '', /^what is wanted has changed/);
  });

  it('says that pods restart, and why', () => {
    const [step] = settledFor(cacheOf()).plan(cacheOf({ image: 'narwhal:2.0.0' }));
    const because = 'what is wanted has changed; pods restart because of spec.containers[server].image';
    assert.equal(step?.because, because);
  });

  it('does not speak of restarts where there are none', () => {
    const [step] = settledFor(cacheOf()).plan(cacheOf({ replicas: 0 }));
    assert.equal(step?.because, 'what is wanted has changed');
  });

  const REMOVED: readonly (readonly [string, Value, Value, string])[] = [
    ['Ingress', { ingress: { host: 'a.b' } }, {}, 'delete Ingress/main'],
    ['HTTPRoute', { httpRoute: { hostnames: ['a.b'], parentRefs: [{ name: 'gw' }] } }, {}, 'delete HTTPRoute/main'],
    ['NetworkPolicy', {}, { networkPolicy: { enabled: false } }, 'delete NetworkPolicy/main'],
    ['ServiceMonitor', { monitoring: { serviceMonitor: { enabled: true } } }, {}, 'delete ServiceMonitor/main'],
    ['ServiceAccount', {}, { podTemplate: { spec: { serviceAccountName: 'x' } } }, 'delete ServiceAccount/main-server'],
  ];
  for (const [kind, before, after, expected] of REMOVED)
    it(`removes what is no longer asked for, last of all: ${kind}`, () => {
      const steps = settledFor(cacheOf(before)).plan(cacheOf(after));
      assert.equal(inShort(steps).at(-1), expected);
      assert.equal(inShort(steps).filter((it) => it.startsWith('delete')).length, 1);
      assert.equal(steps.at(-1)?.because, 'the manifest no longer asks for it');
    });

  it('removes the autoscaler', () => {
    const spec = { ...CACHES[0]?.spec };
    const world = settledFor(cacheOf(spec));
    delete spec.autoscaling;
    assert.deepEqual(inShort(world.plan(cacheOf(spec))), ['delete HorizontalPodAutoscaler/main']);
  });

  it('waits until what is removed is gone, where it is wanted again', () => {
    const cache = cacheOf({ ingress: { host: 'a.b' } });
    const world = settledFor(cache);
    world.edit('Ingress/main', terminating);
    assert.deepEqual(inShort(world.plan(cache)), ['wait']);
    // Where it is not, there is nothing to wait for.
    assert.deepEqual(inShort(world.plan(cacheOf())), ['apply StatefulSet/main']);
  });

  it('leaves what has our labels but not this cache as its owner', () => {
    const cache = cacheOf();
    const world = settledFor(cache);
    const copied: AnyObj = { ...world.get('ConfigMap/main-config') };
    const { ownerReferences: _, ...metadata } = copied.metadata;
    world.children.set('ConfigMap/backup', { ...copied, metadata: { ...metadata, name: 'backup' } });
    assert.deepEqual(world.plan(cache), []);
  });
});

const terminating: Change = (object) => ({
  ...object,
  metadata: { ...object.metadata, deletionTimestamp: '2030-01-02T00:00:00Z' },
});

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
    const cache = cacheOf({ priority: 1 });
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
    const mounting = (claim: string) => [podWith(claim)];
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

  function podWith(claimName: string) {
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'main-0', uid: 'p', resourceVersion: '1', creationTimestamp: '' },
      spec: { containers: [], volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
    };
  }
});

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
