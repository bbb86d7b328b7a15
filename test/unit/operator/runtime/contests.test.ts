import assert from 'node:assert/strict';
import { Contests } from '../../../../operator/runtime/index.ts';

describe('contests', () => {
  let now: number;
  let contests: Contests;

  beforeEach(() => {
    now = 0;
    contests = new Contests({ free: 3, backoff: { baseMs: 1000, maxMs: 8000 }, clock: () => now });
  });

  /** Does it as soon as it may be done, each time to another effect; the time that it had to wait. */
  function does(): number {
    const waitedMs = contests.holdMs('cache', 'deed');
    now += waitedMs;
    contests.done('cache', 'deed', String(now + Math.random()), 'a note');
    return waitedMs;
  }

  it('hold up nothing at first, and then twice as long each time up to a limit', () => {
    const waits = Array.from({ length: 8 }, does);
    assert.deepEqual(waits.slice(0, 3), [0, 0, 0]);
    for (const [index, wanted] of [1000, 2000, 4000, 8000, 8000].entries()) {
      const waited = waits[index + 3] ?? 0;
      assert.ok(Math.abs(waited - wanted) <= wanted / 10, `${index}: ${waited}`);
    }
  });

  it('are told of once they hold up something', () => {
    for (let times = 0; times < 3; times++) does();
    assert.deepEqual(contests.notes('cache'), []);
    does();
    assert.deepEqual(contests.notes('cache'), ['a note']);
    assert.deepEqual(contests.notes('another'), []);
  });

  it('end in peace', () => {
    for (let times = 0; times < 4; times++) does();
    now += 5001;
    assert.deepEqual(contests.notes('cache'), []);
    assert.equal(does(), 0);
  });

  it('are none where nobody undid what was done', () => {
    for (let times = 0; times < 9; times++) contests.done('cache', 'deed', 'same', 'a note');
    assert.equal(contests.holdMs('cache', 'deed'), 0);
  });

  it('are each about one deed of one owner', () => {
    for (let times = 0; times < 4; times++) does();
    assert.ok(contests.holdMs('cache', 'deed') > 0);
    assert.equal(contests.holdMs('cache', 'another deed'), 0);
    assert.equal(contests.holdMs('another', 'deed'), 0);
    contests.forget('cache');
    assert.equal(contests.holdMs('cache', 'deed'), 0);
  });
});
