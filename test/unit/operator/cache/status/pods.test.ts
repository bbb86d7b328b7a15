import assert from 'node:assert/strict';
import type { ServerStatus } from '../../../../../crds/index.ts';
import { configHash } from '../../../../../operator/cache/desired/config.ts';
import { status } from '../../../../../operator/cache/status/status.ts';
import type { Value } from '../../../../support/manifests.ts';
import { cacheOf, reportOf } from '../../../../support/operator-fixtures.ts';
import { DONE, type Scene, wellOf } from '../../../../support/operator-world.ts';

const NOW = new Date('2030-02-03T04:05:06.789Z');
const LATER = new Date('2030-02-03T05:00:00Z');

type Status = ReturnType<typeof statusOf>;

function statusOf({ cache, inputs, observed, outcome }: Scene, now = NOW) {
  return status(cache, inputs, observed, outcome, configHash(cache, inputs), now);
}

/** The scene again, of a cache that has had this status written. */
const withStatus = (scene: Scene, before: Status): Scene => ({ ...scene, cache: { ...scene.cache, status: before } });

const silent = (scene: Scene): Scene => ({ ...scene, observed: { ...scene.observed, reports: new Map() } });

const telling = (scene: Scene, report: ServerStatus): Scene => ({
  ...scene,
  observed: { ...scene.observed, reports: new Map([['main-0', report]]) },
});

describe('the pods in the status', () => {
  const cache = cacheOf();
  const well = wellOf(cache);
  const podsOf = (scene: Scene, now = NOW) => statusOf(scene, now).pods;
  const running = (hash: string) => telling(well, reportOf(cache, hash));

  it('run the present manifest, another one, or tell nothing', () => {
    const configs = [well, running('an older one'), silent(well)].map((scene) => podsOf(scene)?.map((it) => it.config));
    assert.deepEqual(configs, [['Current'], ['Outdated'], ['Unknown']]);
  });

  it('have the time when that was first seen', () => {
    const first = statusOf(running('an older one'));
    assert.deepEqual(statusOf(withStatus(running('an older one'), first), LATER).pods, first.pods);
    const since = podsOf(withStatus(well, first), LATER)?.map((it) => it.since);
    assert.deepEqual(since, ['2030-02-03T05:00:00Z']);
  });

  it('have another time where the manifest is another, though the operator never saw them lag behind', () => {
    const before = { ...statusOf(well), configHash: 'of the one before' };
    assert.deepEqual(
      podsOf(withStatus(well, before), LATER)?.map((it) => it.since),
      ['2030-02-03T05:00:00Z'],
    );
  });

  it('are not those that go', () => {
    const { observed } = well;
    const pods = observed.pods.map((pod) => ({ ...pod, metadata: { ...pod.metadata, deletionTimestamp: 'now' } }));
    assert.deepEqual(podsOf({ ...well, observed: { ...observed, pods } }), []);
  });
});

describe('the annotation that asks for a look', () => {
  const asking = (value: string, more: Value = {}) =>
    wellOf(cacheOf({}, { annotations: { 'narwhal.dev/reconcile': value, ...(more as Record<string, string>) } }));

  it('is in the status once all is done for it, shortened to what fits', () => {
    assert.equal(statusOf(asking('1')).lastReconcile, '1');
    assert.equal(statusOf(asking('x'.repeat(300))).lastReconcile, 'x'.repeat(256));
    assert.equal(statusOf(wellOf(cacheOf())).lastReconcile, undefined);
  });

  it('is not while something fails, or nothing is done', () => {
    const before = statusOf(asking('1'));
    const failed = { ...asking('2'), outcome: { ...DONE, error: new Error('no') } };
    const pausing = asking('2', { 'narwhal.dev/paused': 'true' });
    for (const scene of [failed, pausing]) assert.equal(statusOf(withStatus(scene, before)).lastReconcile, '1');
  });
});
