import assert from 'node:assert/strict';
import {
  type Condition,
  type Finding,
  mergeConditions,
  microTimestamp,
  timestamp,
} from '../../../../operator/runtime/index.ts';

const THEN = '2026-01-01T00:00:00Z';
const NOW = new Date('2026-02-03T04:05:06.789Z');

const ready = (status: Finding['status'], message = ''): Finding => ({
  type: 'Ready',
  status,
  reason: 'Because',
  message,
});
const written = (finding: Finding): Condition => ({ ...finding, observedGeneration: 1, lastTransitionTime: THEN });

describe('merging conditions', () => {
  it('keeps the time as long as the status is the same, whatever else changes', () => {
    const [merged] = mergeConditions([written(ready('True', 'old'))], [ready('True', 'new')], 2, NOW);
    assert.deepEqual(merged, { ...ready('True', 'new'), observedGeneration: 2, lastTransitionTime: THEN });
  });

  it('stamps a status that flips, and one that is new', () => {
    const found = [ready('False'), { ...ready('Unknown'), type: 'Available' }];
    const times = mergeConditions([written(ready('True'))], found, 2, NOW).map((one) => one.lastTransitionTime);
    assert.deepEqual(times, ['2026-02-03T04:05:06Z', '2026-02-03T04:05:06Z']);
  });

  it('has the order of what is found, and drops what is found no longer', () => {
    const stored = ['Old', 'Ready', 'Available'].map((type) => written({ ...ready('True'), type }));
    const found = ['Available', 'Ready'].map((type) => ({ ...ready('True'), type }));
    assert.deepEqual(
      mergeConditions(stored, found, 1, NOW).map(({ type }) => type),
      ['Available', 'Ready'],
    );
  });

  it('changes nothing when nothing is new', () => {
    const stored = [written(ready('True'))];
    assert.deepEqual(mergeConditions(stored, [ready('True')], 1, NOW), stored);
  });

  it('leaves out the generation of kinds that have none', () => {
    const [merged] = mergeConditions([], [ready('True')], undefined, NOW);
    assert.ok(merged !== undefined && !('observedGeneration' in merged));
  });
});

describe('times', () => {
  it('have whole seconds in conditions, and six digits in leases and events', () => {
    assert.equal(timestamp(NOW), '2026-02-03T04:05:06Z');
    assert.equal(microTimestamp(NOW), '2026-02-03T04:05:06.789000Z');
  });
});
