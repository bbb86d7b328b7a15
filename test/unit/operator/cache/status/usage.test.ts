import assert from 'node:assert/strict';
import { binaryCacheStatus } from '../../../../../crds/binary-cache-status.ts';
import type { CollectionStatus, ServerStatus } from '../../../../../crds/index.ts';
import { validate } from '../../../../../crds/validate.ts';
import { configHash } from '../../../../../operator/cache/desired/config.ts';
import { isServerStatus } from '../../../../../operator/cache/observe/servers.ts';
import { status } from '../../../../../operator/cache/status/status.ts';
import { cacheOf, reportOf } from '../../../../support/operator-fixtures.ts';
import { type Scene, wellOf } from '../../../../support/operator-world.ts';

const NOW = new Date('2030-02-03T04:05:06.789Z');

function statusOf({ cache, inputs, observed, outcome, lacking }: Scene, now = NOW) {
  return status(cache, inputs, observed, outcome, configHash(cache, inputs), now, lacking);
}

type Status = ReturnType<typeof statusOf>;

/** The scene again, of a cache that has had this status written. */
const withStatus = (scene: Scene, before: Status): Scene => ({ ...scene, cache: { ...scene.cache, status: before } });

const silent = (scene: Scene): Scene => ({ ...scene, observed: { ...scene.observed, reports: new Map() } });

/** With these reports of its pods. */
const telling = (scene: Scene, ...reports: ServerStatus[]): Scene => ({
  ...scene,
  observed: { ...scene.observed, reports: new Map(reports.map((report, index) => [`main-${index}`, report])) },
});

describe('the usage in the status', () => {
  const cache = cacheOf();
  const well = wellOf(cache);
  const usageOf = (scene: Scene) => statusOf(scene).usage;
  const lastGC: CollectionStatus = {
    ...{ run: 7, begunAt: '2030-01-01T00:00:00.123Z', endedAt: null, state: 'done', message: null },
    ...{ paths: 20, bytes: 2 ** 33, removedPaths: 5, removedBytes: 1.5 * 2 ** 30 },
  };
  const told = (run: Partial<CollectionStatus> | null = {}, paths = 15) =>
    reportOf(cache, '', {
      usage: { bytes: 5 * 2 ** 30 + 7, paths, retiredPaths: 5, lastGC: run && { ...lastGC, ...run } },
      waiting: { paths: 2, since: '2030-01-01T00:00:00Z' },
    });

  it('is what the server tells, rounded', () => {
    assert.deepEqual(usageOf(telling(well, told())), {
      ...{ bytes: '5Gi', paths: 15, waiting: 2 },
      lastGC: { run: 7, state: 'done', begunAt: '2030-01-01T00:00:00Z', removedPaths: 5, removedBytes: '1.5Gi' },
    });
    assert.deepEqual(usageOf(telling(well, told(null))), { bytes: '5Gi', paths: 15, waiting: 2 });
    assert.deepEqual(validate(binaryCacheStatus, statusOf(telling(well, told()))).issues, []);
  });

  it('is that of the server that knows of the newest run', () => {
    const scene = telling(well, told({}, 20), told({ run: 8, state: 'held' }, 15), told(null, 20));
    assert.deepEqual([usageOf(scene)?.paths, usageOf(scene)?.lastGC?.state], [15, 'held']);
  });

  it('stays as it was while no server tells, and is absent where none ever did', () => {
    assert.equal(usageOf(well), undefined);
    const before = statusOf(telling(well, told()));
    for (const scene of [silent(well), telling(well, reportOf(cache, ''))])
      assert.deepEqual(usageOf(withStatus(scene, before)), before.usage);
  });

  it('is left out where the installed CRD does not know it', () => {
    assert.equal(usageOf({ ...telling(well, told()), lacking: ['usage'] }), undefined);
  });

  it('is believed only in a form that the CRD takes', () => {
    assert.ok(isServerStatus(told()));
    const wrong = [{ run: -1 }, { removedBytes: 0.5 }, { state: 'odd' }, { begunAt: 'yesterday' }, { begunAt: '2030' }];
    for (const fields of wrong)
      assert.ok(!isServerStatus(told(fields as Partial<CollectionStatus>)), `${Object.keys(fields)}`);
    assert.ok(!isServerStatus(told(null, -1)));
  });
});
