import assert from 'node:assert/strict';
import { CacheError } from '../../../../server/cache/errors.ts';
import { inParallel } from '../../../../server/cache/flow/parallel.ts';
import { RateLimit } from '../../../../server/cache/flow/rate-limit.ts';
import { reasonOf, Throughput } from '../../../../server/cache/moving/progress.ts';
import { lineOf, phaseOf } from '../../../../server/cache/moving/report.ts';
import { isEmpty, wordsOf } from '../../../../server/cache/storages/remains.ts';
import { StorageFullError, StorageUnavailableError } from '../../../../server/storage/index.ts';

describe('what stops a drain', () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [new StorageFullError('a'), 'NoSpace'],
    [new CacheError('NoSpace', 'no room'), 'NoSpace'],
    [new StorageUnavailableError('a', 'gone'), 'Unavailable'],
    [new CacheError('Unavailable', 'gone'), 'Unavailable'],
    [new CacheError('Conflict', 'odd'), 'Failed'],
    [new Error('odd'), 'Failed'],
    ['odd', 'Failed'],
  ];
  for (const [error, reason] of cases) it(`${error} is ${reason}`, () => assert.equal(reasonOf(error), reason));
});

describe('the phase of a storage', () => {
  const nothing = { objects: 0, bytes: 0, lost: 0, tombstones: 0, uploads: 0, intents: 0 };
  const facts = { mode: 'Drain', state: 'Ready', writes: 0 } as const;

  it('is Drained when no row names it and nothing is written to it', () => {
    assert.equal(phaseOf(facts, nothing, undefined), 'Drained');
    assert.equal(phaseOf({ ...facts, state: 'Unavailable' }, nothing, 'Unavailable'), 'Drained');
    assert.equal(phaseOf({ ...facts, writes: 1 }, nothing, undefined), 'Draining');
    for (const what of ['objects', 'tombstones', 'uploads', 'intents'] as const)
      assert.equal(phaseOf(facts, { ...nothing, [what]: 1 }, undefined), 'Draining', what);
    assert.equal(phaseOf(facts, { ...nothing, lost: 1 }, undefined), 'Drained', 'what is lost can go nowhere');
    assert.equal(phaseOf(facts, undefined, undefined), 'Draining', 'the database does not answer');
  });

  it('is Paused when something stops it', () => {
    assert.equal(phaseOf(facts, { ...nothing, objects: 1 }, 'NoSpace'), 'Paused');
    assert.equal(phaseOf({ ...facts, state: 'Unavailable' }, { ...nothing, tombstones: 1 }, undefined), 'Paused');
  });

  it('is that of its health where nothing is asked for, and Abandoned whatever its health', () => {
    for (const mode of ['ReadWrite', 'ReadOnly'] as const)
      for (const state of ['Ready', 'Unavailable'] as const)
        assert.equal(phaseOf({ mode, state, writes: 0 }, undefined, undefined), state);
    assert.equal(phaseOf({ ...facts, mode: 'Abandoned', state: 'Unavailable' }, nothing, undefined), 'Abandoned');
  });

  it('has a line of text', () => {
    const base = { name: 'a', mode: 'Drain', state: 'Ready', usedBytes: 5, writes: 0 } as const;
    const lines = [
      lineOf({ ...base, phase: 'Draining', objects: 2, bytes: 3, movedObjects: 4, movedBytes: 5, bytesPerSecond: 6 }),
      lineOf({ ...base, phase: 'Paused', reason: 'NoSpace', lastError: 'no room', objects: 2, bytes: 3 }),
      lineOf({ ...base, phase: 'Abandoned', objects: 2, bytes: 3 }),
      lineOf({ ...base, phase: 'Abandoned', objects: 0, bytes: 0 }),
      lineOf({ ...base, phase: 'Drained', lostObjects: 2 }),
    ];
    assert.deepEqual(lines, [
      'draining: 2 objects, 3 bytes left; 4 objects, 5 bytes moved, 6 bytes/s',
      'draining pauses (NoSpace): no room; 2 objects, 3 bytes left',
      'being given up: 2 objects, 3 bytes left',
      'given up: it can be removed from the manifest',
      'drained: it can be removed from the manifest; 2 of its objects lost',
    ]);
  });

  it('says what keeps a storage from being removed', () => {
    assert.ok(isEmpty(nothing));
    assert.equal(wordsOf(nothing), 'nothing');
    assert.equal(
      wordsOf({ objects: 1, bytes: 9, lost: 7, tombstones: 2, uploads: 3, intents: 4 }),
      '1 objects, 2 objects whose bytes are still to be removed, 3 open uploads, 4 writes that are not over',
    );
  });
});

describe('a rate', () => {
  let now = 0;
  let waited = 0;
  let rate: number | undefined = 1000;
  const { signal } = new AbortController();
  const limit = () =>
    new RateLimit({
      bytesPerSecond: () => rate,
      now: () => now,
      wait: async (ms) => {
        waited += ms;
        now += ms;
      },
    });
  beforeEach(() => {
    [now, waited, rate] = [0, 0, 1000];
  });

  it('lets so many bytes through a second', async () => {
    const it1 = limit();
    for (let i = 0; i < 100; i++) await it1.take(250, signal);
    // The last piece need not be waited for.
    assert.equal(waited, 99 * 250);
  });

  it('is shared by all who take', async () => {
    const it1 = limit();
    await Promise.all(Array.from({ length: 10 }, () => it1.take(500, signal)));
    await it1.take(1, signal);
    assert.ok(now >= 5000, String(now));
  });

  it('saves nothing up in a pause, and follows a change', async () => {
    const it1 = limit();
    await it1.take(1000, signal);
    now = 60_000;
    await it1.take(1000, signal);
    assert.equal(waited, 0);
    await it1.take(1, signal);
    assert.equal(waited, 1000);
    rate = undefined;
    for (let i = 0; i < 100; i++) await it1.take(1e9, signal);
    assert.equal(waited, 1000);
  });
});

describe('throughput', () => {
  it('is that of the last ten seconds, and of less in the beginning', () => {
    let now = 5_400;
    const it1 = new Throughput(() => now);
    it1.add(1000);
    assert.equal(it1.perSecond, 1000);
    for (let second = 0; second < 60; second++) {
      now += 1000;
      it1.add(100);
    }
    assert.equal(it1.perSecond, 100);
    now += 5000;
    assert.equal(it1.perSecond, 50);
    now += 3600_000;
    assert.equal(it1.perSecond, 0);
  });
});

describe('work in parallel', () => {
  it('does each once, so many at a time', async () => {
    let [running, most] = [0, 0];
    const done: number[] = [];
    await inParallel(
      3,
      Array.from({ length: 20 }, (_, index) => index),
      async (item) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        done.push(item);
      },
    );
    assert.deepEqual(
      done.sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, index) => index),
    );
    assert.equal(most, 3);
  });

  it('begins no more once one has failed, and waits for those that run', async () => {
    let [begun, ended] = [0, 0];
    await assert.rejects(
      inParallel(
        2,
        Array.from({ length: 10 }, (_, index) => index),
        async (item) => {
          begun++;
          await new Promise((resolve) => setImmediate(resolve));
          if (item === 1) throw new Error('no');
          ended++;
        },
      ),
      /no/,
    );
    assert.ok(begun <= 4);
    assert.equal(ended, begun - 1);
  });
});
