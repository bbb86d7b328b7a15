import assert from 'node:assert/strict';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import { restartReasons } from '../../../../../operator/cache/plan/differences.ts';
import type { AnyObj, Desired } from '../../../../../operator/runtime/index.ts';
import { liveOf } from '../../../../support/live-object.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, inputsOf } from '../../../../support/operator-fixtures.ts';
import { podTemplate } from '../../../../tables/caches.ts';

function workloadOf(spec: Value, inputs = inputsOf()): Desired {
  const found = desired(cacheOf(spec), inputs).find(({ kind }) => kind === 'StatefulSet');
  assert.ok(found);
  return found;
}

const pod = (spec: Value): Value => ({ podTemplate: { spec } });
const metadata = (more: Value): Value => ({ podTemplate: { metadata: more } });
const disks = (...names: string[]): Value => ({ storages: names.map((name) => ({ name, local: {} })) });
const ENV = 'spec.containers[server].env';

/** A sentence, the manifest before and after, and what a person reads. */
const TABLE: readonly (readonly [string, Value, Value, readonly string[]])[] = [
  ['nothing', {}, {}, []],
  ['nothing of much', { podTemplate }, { podTemplate }, []],
  ['what restarts nothing', {}, { replicas: 0, priority: 1 }, []],
  ['the image', {}, { image: 'narwhal:2' }, ['spec.containers[server].image']],
  ['a variable more', {}, pod({ env: [{ name: 'A', value: 'b' }] }), [`${ENV}[A] (added)`]],
  ['a variable less', pod({ env: [{ name: 'A', value: 'b' }] }), {}, [`${ENV}[A] (removed)`]],
  [
    'another value of a variable',
    pod({ env: [{ name: 'A', value: 'b' }] }),
    pod({ env: [{ name: 'A', value: 'c' }] }),
    [`${ENV}[A].value`],
  ],
  [
    'a storage more',
    disks('disk'),
    disks('disk', 'new'),
    ['spec.containers[server].volumeMounts[/storages/new] (added)', 'spec.volumes[storage-new] (added)'],
  ],
  [
    'a storage less',
    disks('disk', 'old'),
    disks('disk'),
    ['spec.containers[server].volumeMounts[/storages/old] (removed)', 'spec.volumes[storage-old] (removed)'],
  ],
  [
    'more memory',
    pod({ resources: { limits: { memory: '1Gi' } } }),
    pod({ resources: { limits: { memory: '2Gi' } } }),
    ['spec.containers[server].resources.limits.memory'],
  ],
  [
    'the same memory in other words, and a class',
    pod({ resources: { requests: { memory: '1024Mi', cpu: '1000m' } } }),
    pod({ resources: { requests: { memory: '1024Mi', cpu: '1000m' } }, priorityClassName: 'high' }),
    ['spec.priorityClassName (added)'],
  ],
  [
    'a limit less',
    pod({ resources: { limits: { memory: '1Gi', cpu: '2' } } }),
    pod({ resources: { limits: { memory: '1Gi' } } }),
    ['spec.containers[server].resources.limits.cpu (removed)'],
  ],
  ['a class less', pod({ priorityClassName: 'high' }), {}, ['spec.priorityClassName (removed)']],
  ['a label of nodes less', pod({ nodeSelector: { disk: 'fast' } }), {}, ['spec.nodeSelector.disk (removed)']],
  [
    'another node',
    pod({ nodeSelector: { disk: 'fast' } }),
    pod({ nodeSelector: { disk: 'slow' } }),
    ['spec.nodeSelector.disk'],
  ],
  ['an affinity less', pod({ affinity: { nodeAffinity: { a: 1 } } }), {}, ['spec.affinity (removed)']],
  [
    'half an affinity less',
    pod({ affinity: { nodeAffinity: { a: 1 }, podAffinity: { b: 1 } } }),
    pod({ affinity: { nodeAffinity: { a: 1 } } }),
    ['spec.affinity.podAffinity (removed)'],
  ],
  ['a toleration more', {}, pod({ tolerations: [{ operator: 'Exists' }] }), ['spec.tolerations[0] (added)']],
  ['a toleration less', pod({ tolerations: [{ operator: 'Exists' }] }), {}, ['spec.tolerations[0] (removed)']],
  ['a label more', {}, metadata({ labels: { team: 'a' } }), ['metadata.labels.team (added)']],
  ['a label less', metadata({ labels: { team: 'a' } }), {}, ['metadata.labels.team (removed)']],
  ['an annotation more', {}, metadata({ annotations: { a: 'b' } }), ['metadata.annotations (added)']],
  ['an annotation less', metadata({ annotations: { a: 'b' } }), {}, ['metadata.annotations.a (removed)']],
  ['another account', {}, pod({ serviceAccountName: 'other' }), ['spec.serviceAccountName']],
  [
    'a pull secret instead of another',
    pod({ imagePullSecrets: [{ name: 'a' }] }),
    pod({ imagePullSecrets: [{ name: 'b' }] }),
    ['spec.imagePullSecrets[b] (added)', 'spec.imagePullSecrets[a] (removed)'],
  ],
];

describe('why pods restart', () => {
  for (const [title, before, after, expected] of TABLE)
    it(`is told for ${title}`, () => {
      assert.deepEqual(restartReasons(liveOf(workloadOf(before)), workloadOf(after)), expected);
    });

  it('is the operator’s own doing where it comes with another image or gateway', () => {
    const live = liveOf(workloadOf({}));
    const upgraded = workloadOf({}, inputsOf({ image: 'narwhal:2', apiUrl: 'https://other.example.org' }));
    assert.deepEqual(restartReasons(live, upgraded), [
      'spec.containers[server].image',
      `${ENV}[NARWHAL_API_URL].value`,
    ]);
  });

  it('is not what kubectl has left behind', () => {
    const live = liveOf(workloadOf({}));
    const { template, ...spec } = live.spec as { template: AnyObj } & Value;
    const annotations = { 'kubectl.kubernetes.io/restartedAt': '2030-01-01T00:00:00Z' };
    const restarted = {
      ...live,
      spec: { ...spec, template: { ...template, metadata: { ...template.metadata, annotations } } },
    };
    assert.deepEqual(restartReasons(restarted, workloadOf({ image: 'narwhal:2' })), ['spec.containers[server].image']);
  });
});
