import assert from 'node:assert/strict';
import { Seats } from '../../../server/cache/seats.ts';

describe('seats', () => {
  it('are given to so many, then to those who wait in the order in which they came', async () => {
    const seats = new Seats(2);
    const order: string[] = [];
    const first = await seats.take();
    await seats.take();
    const waiting = ['a', 'b'].map(async (name) => {
      const leave = await seats.take();
      order.push(name);
      return leave;
    });
    await new Promise(setImmediate);
    assert.deepEqual([order, seats.taken], [[], 2]);
    first();
    first();
    const next = await waiting[0];
    assert.deepEqual(order, ['a']);
    next?.();
    await waiting[1];
    assert.deepEqual([order, seats.taken], [['a', 'b'], 2]);
  });

  it('are not kept for those who leave', async () => {
    const seats = new Seats(1);
    const leave = await seats.take();
    const gone = new AbortController();
    const left = seats.take(gone.signal);
    const stays = seats.take();
    gone.abort(new Error('gone'));
    await assert.rejects(left, /gone/);
    leave();
    (await stays)();
    assert.equal(seats.taken, 0);
    await assert.rejects(seats.take(gone.signal), /gone/);
    assert.equal(seats.taken, 0);
  });
});
