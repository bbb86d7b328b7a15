import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import type { AnyObj } from '../../../../../operator/runtime/index.ts';
import { anyCache } from '../../../../support/cache-arbitrary.ts';
import { type Change, terminating, withLabels, withSpec } from '../../../../support/live-object.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, cachesOf, secretsOf } from '../../../../support/operator-fixtures.ts';
import { inShort, settledFor, World, worldFor } from '../../../../support/operator-world.ts';
import { CACHES } from '../../../../tables/caches.ts';

const EXAMPLES = path.join(import.meta.dirname, '../../../../../examples');

const ci: Value = { name: 'ci', permissions: ['Write'] };

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

describe('the plan when somebody else changes something', () => {
  const cache = cacheOf({
    ...CACHES[0]?.spec,
    monitoring: { serviceMonitor: { enabled: true } },
    podTemplate: { spec: { priorityClassName: 'high' } },
  });

  /** An object, what somebody does to it, and where the plan says that it was. */
  const CHANGES: readonly (readonly [string, Change, string])[] = [
    [
      'ServiceAccount/main-server',
      (it) => ({ ...it, automountServiceAccountToken: true }),
      'automountServiceAccountToken',
    ],
    ['ConfigMap/main-config', (it) => ({ ...it, data: { 'cache.yaml': 'spec: {}' } }), 'data.cache.yaml'],
    [
      'PersistentVolumeClaim/main-nfs',
      withLabels({ 'narwhal.dev/storage': 'other' }),
      'metadata.labels.narwhal.dev/storage',
    ],
    ['Service/main', withSpec({ type: 'NodePort' }), 'spec.type'],
    ['Service/main-peers', withSpec({ publishNotReadyAddresses: false }), 'spec.publishNotReadyAddresses'],
    ['NetworkPolicy/main', withSpec({ policyTypes: ['Egress'] }), 'spec.policyTypes[0]'],
    ['StatefulSet/main', withSpec({ replicas: 7 }), 'spec.replicas'],
    ['PodDisruptionBudget/main', withSpec({ maxUnavailable: 0 }), 'spec.maxUnavailable'],
    [
      'HorizontalPodAutoscaler/main',
      withSpec({ maxReplicas: 100, minReplicas: 9 }),
      'spec.minReplicas, spec.maxReplicas',
    ],
    ['Ingress/main', withSpec({ ingressClassName: 'other' }), 'spec.ingressClassName'],
    ['ServiceMonitor/main', withSpec({ endpoints: [{ port: 'http', interval: '30s' }] }), 'spec.endpoints[0].port'],
  ];

  for (const [key, change, place] of CHANGES)
    it(`puts it right, and nothing else: ${key}`, () => {
      const world = settledFor(cache);
      world.edit(key, change);
      const steps = world.plan(cache);
      assert.deepEqual(inShort(steps), [`apply ${key}`]);
      assert.deepEqual(
        steps.map(({ because }) => because),
        [`something else has changed ${place}`],
      );
      world.settle(cache);
    });

  it('speaks of three places at most', () => {
    const world = settledFor(cache);
    const selector = {
      'app.kubernetes.io/name': 'x',
      'app.kubernetes.io/instance': 'x',
      'app.kubernetes.io/component': 'x',
    };
    world.edit('Service/main', withSpec({ type: 'NodePort', selector }));
    assert.match(world.plan(cache)[0]?.because ?? '', /^something else has changed [^,]+, [^,]+, [^,]+$/);
  });

  it('speaks of nothing that somebody has only added, since it stays', () => {
    const world = settledFor(cache);
    world.edit('Service/main', withLabels({ 'argocd.argoproj.io/instance': 'caches' }));
    world.edit('Service/main', withSpec({ type: 'NodePort' }));
    assert.equal(world.plan(cache)[0]?.because, 'something else has changed spec.type');
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

describe('the plan when an earlier cache of the name is still being collected', () => {
  const cache = cacheOf();
  const successor = { ...cache, metadata: { ...cache.metadata, uid: 'uid-of-its-successor' } };

  it('waits: what it would take over, keys for example, could go at any moment', () => {
    const world = settledFor(cache);
    const [step, ...others] = world.plan(successor);
    assert.deepEqual([step?.do, others], ['wait', []]);
    assert.match(step?.because ?? '', /of an earlier cache main is still being deleted$/);
  });

  it('waits for the last of its Secrets too', () => {
    const world = settledFor(cacheOf({ reclaimPolicy: 'Delete' }));
    world.children.clear();
    assert.match(world.plan(successor)[0]?.because ?? '', /^Secret main-root-key of an earlier cache main/);
  });

  it('takes over what no cache owns', () => {
    const world = settledFor(cache);
    const { publicKeys } = world.observe(cache).secrets;
    for (const key of world.children.keys()) if (!key.startsWith('PersistentVolumeClaim/')) world.children.delete(key);
    const steps = inShort(world.settle(successor));
    assert.deepEqual(
      steps.filter((it) => it.startsWith('generate') || it.includes('PersistentVolumeClaim')),
      [],
    );
    assert.deepEqual(world.observe(successor).secrets.publicKeys, publicKeys);
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
    assert.deepEqual(inShort(world.plan(cacheOf())), ['apply ConfigMap/main-config']);
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
