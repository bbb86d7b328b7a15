import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { WorkQueue } from '../../../../operator/runtime/index.ts';

/** What `promise` has come to by now; `pending` if nothing. */
async function stateOf<T>(promise: Promise<T>): Promise<T | 'pending'> {
  return Promise.race([promise, turn('pending' as const)]);
}

describe('a work queue', () => {
  let queue: WorkQueue;
  beforeEach(() => {
    queue = new WorkQueue({ backoff: { baseMs: 10, maxMs: 80 }, random: () => 0.5 });
  });
  afterEach(() => queue.shutDown());

  it('gives keys in the order in which they came', async () => {
    queue.add('a');
    queue.add('b');
    assert.deepEqual([await queue.next(), await queue.next()], ['a', 'b']);
  });

  it('gives namespaces their turns, however many keys one of them has', async () => {
    const keys = ['flood/a', 'flood/b', 'flood/c', 'flood/d', 'team/a', 'team/b', 'one'];
    for (const key of keys) queue.add(key);
    const given: (string | undefined)[] = [];
    for (const _ of keys) given.push(await queue.next());
    assert.deepEqual(given, ['flood/a', 'team/a', 'one', 'flood/b', 'team/b', 'flood/c', 'flood/d']);
    assert.equal(queue.depth, 0);
  });

  it('holds a key once however often it is added', async () => {
    queue.add('a');
    queue.add('a');
    assert.equal(queue.depth, 1);
    assert.equal(await queue.next(), 'a');
    assert.equal(queue.depth, 0);
  });

  it('gives a key to one worker at a time, and again if it was added meanwhile', async () => {
    queue.add('a');
    await queue.next();
    queue.add('a');
    queue.add('a');
    const second = queue.next();
    assert.equal(await stateOf(second), 'pending');
    queue.done('a');
    assert.equal(await second, 'a');
    queue.done('a');
    assert.equal(await stateOf(queue.next()), 'pending');
  });

  it('wakes one worker for each key', async () => {
    const workers = [queue.next(), queue.next(), queue.next()];
    queue.add('a');
    queue.add('b');
    assert.deepEqual(await Promise.all(workers.map(stateOf)), ['a', 'b', 'pending']);
  });

  it('gives a delayed key after its time', async () => {
    const start = performance.now();
    queue.addAfter('a', 20);
    assert.equal(queue.depth, 0);
    assert.equal(await queue.next(), 'a');
    // Timers may be early by the fraction of a millisecond.
    assert.ok(performance.now() - start >= 19);
  });

  it('keeps the earliest of several times', async () => {
    queue.addAfter('late first', 3600_000);
    queue.addAfter('late first', 5);
    assert.equal(await queue.next(), 'late first');
    queue.addAfter('early first', 5);
    queue.addAfter('early first', 3600_000);
    assert.equal(await queue.next(), 'early first');
  });

  it('forgets a later time once the key is added', async () => {
    queue.addAfter('a', 5);
    queue.add('a');
    assert.equal(await queue.next(), 'a');
    queue.addAfter('b', 20);
    assert.equal(await queue.next(), 'b', 'a came a second time');
  });

  it('waits longer with each failure in a row, up to a limit', () => {
    assert.deepEqual(
      [1, 2, 3, 4, 5, 6].map(() => Math.round(queue.retry('a'))),
      [10, 20, 40, 80, 80, 80],
    );
    queue.forget('a');
    assert.equal(Math.round(queue.retry('a')), 10);
  });

  it('counts the failures of each key by themselves', () => {
    queue.retry('a');
    queue.retry('a');
    assert.equal(Math.round(queue.retry('b')), 10);
  });

  it('waits at least as long as a server wishes', () => {
    assert.ok(queue.retry('a', 5000) >= 5000);
    assert.ok(queue.retry('b', 1) >= 9);
  });

  it('spreads retries by a tenth in both directions', () => {
    const delay = (random: number) =>
      new WorkQueue({ backoff: { baseMs: 100, maxMs: 1000 }, random: () => random }).retry('a');
    assert.deepEqual([0, 1].map(delay).map(Math.round), [90, 110]);
  });

  it('knows how long its oldest key has waited', async () => {
    assert.equal(queue.oldestMs, 0);
    queue.add('a');
    await turn();
    assert.ok(queue.oldestMs > 0);
  });

  it('ends the wait of a worker by its signal', async () => {
    const stop = new AbortController();
    const worker = queue.next(stop.signal);
    stop.abort();
    assert.equal(await worker, undefined);
    queue.add('a');
    assert.equal(await queue.next(), 'a', 'the key went to a worker who has gone');
  });

  it('ends all waits, and takes nothing more, once it is shut down', async () => {
    const workers = [queue.next(), queue.next()];
    queue.addAfter('a', 1);
    queue.shutDown();
    assert.deepEqual(await Promise.all(workers), [undefined, undefined]);
    queue.add('b');
    queue.addAfter('c', 0);
    assert.equal(await queue.next(), undefined);
  });

  it('loses no key and gives none twice, whatever happens in whatever order', async () => {
    const step = fc.record({ key: fc.constantFrom('a', 'b', 'c'), act: fc.constantFrom('add', 'next', 'done') });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const queue = new WorkQueue();
        const active = new Set<string>();
        /** Added since it was last given. */
        const owed = new Set<string>();
        for (const { key, act } of steps) {
          if (act === 'add') {
            queue.add(key);
            owed.add(key);
          } else if (act === 'done' && active.delete(key)) queue.done(key);
          else if (act === 'next' && queue.depth > 0) {
            const given = await queue.next();
            assert.ok(given !== undefined && owed.delete(given) && !active.has(given));
            active.add(given);
          }
        }
        for (const key of active) queue.done(key);
        assert.equal(queue.depth, owed.size);
        queue.shutDown();
      }),
    );
  });
});
