import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Deadline } from '../../../../operator/runtime/deadline.ts';

describe('a deadline', () => {
  const over = () => new Error('over');

  it('ends its signal after its time, with its reason', async () => {
    const deadline = new Deadline(undefined, 5, over);
    await once(deadline.signal, 'abort');
    assert.match(String(deadline.signal.reason), /over/);
  });

  it('ends with its parent, at once if that has ended', () => {
    const parent = new AbortController();
    const deadline = new Deadline(parent.signal, 60_000, over);
    parent.abort(new Error('told to stop'));
    const late = new Deadline(parent.signal, 60_000, over);
    for (const { signal } of [deadline, late]) assert.match(String(signal.reason), /told to stop/);
    deadline.clear();
    late.clear();
  });

  it('is put off', async () => {
    const start = performance.now();
    const deadline = new Deadline(undefined, 5, over);
    deadline.extend(30);
    await once(deadline.signal, 'abort');
    assert.ok(performance.now() - start >= 29);
  });

  it('leaves nothing behind at its parent', () => {
    const parent = new AbortController();
    const deadline = new Deadline(parent.signal, 60_000, over);
    deadline.clear();
    parent.abort();
    assert.ok(!deadline.signal.aborted);
  });
});
