import assert from 'node:assert/strict';
import fc from 'fast-check';
import { asCaller } from '../../../server/shares/index.ts';
import { ByteBudget } from '../../../server/storage/index.ts';

describe('a budget of bytes', () => {
  it('makes who asks for too much wait, in order', async () => {
    const budget = new ByteBudget(10);
    const first = await budget.take(8);
    const order: string[] = [];
    const second = budget.take(5).then((free) => {
      order.push('second');
      free();
    });
    const third = budget.take(1).then((free) => {
      order.push('third');
      free();
    });
    await new Promise(setImmediate);
    assert.deepEqual(order, [], 'a small one does not overtake');
    first();
    first();
    await Promise.all([second, third]);
    assert.deepEqual(order, ['second', 'third']);
    assert.equal(budget.held, 0);
  });

  it('gives all it has to who wants more', async () => {
    const budget = new ByteBudget(10);
    const free = await budget.take(1000);
    assert.equal(budget.held, 10);
    free();
    assert.equal(budget.held, 0);
  });

  it('is shared between caches, and who goes on with a body goes before who begins one', async () => {
    const budget = new ByteBudget(10);
    const order: string[] = [];
    const take = (cache: string, client: string, name: string, goesOn = false) =>
      asCaller({ cache, client }, async () => {
        const free = await budget.take(10, { goesOn });
        order.push(name);
        await new Promise(setImmediate);
        free();
      });
    await Promise.all([
      take('a', '1', 'first'),
      take('a', '1', 'same client'),
      take('a', '2', 'other client'),
      take('b', '1', 'other cache'),
      take('a', '1', 'goes on', true),
    ]);
    assert.deepEqual(order, ['first', 'goes on', 'other cache', 'other client', 'same client']);
  });

  it('never gives out more than it has, and serves everyone', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 30 }), async (sizes) => {
        const budget = new ByteBudget(20);
        await Promise.all(
          sizes.map(async (size) => {
            const free = await budget.take(size);
            assert.ok(budget.held <= 20);
            await new Promise(setImmediate);
            free();
          }),
        );
        assert.equal(budget.held, 0);
      }),
    );
  });
});
