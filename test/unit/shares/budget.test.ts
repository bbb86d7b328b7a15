import assert from 'node:assert/strict';
import fc from 'fast-check';
import { Budget, type Caller, type Lease } from '../../../server/shares/index.ts';

const caller = (cache: string, client = 'x'): Caller => ({ cache, client });
const settled = () => new Promise(setImmediate);

/** Takes, and notes under `name` when it was served. */
function waitFor(budget: Budget, order: string[], name: string, from: Caller, units = 1): Promise<Lease> {
  return budget.take({ caller: from, units }).then((lease) => {
    order.push(name);
    return lease;
  });
}

/** Bytes of a client that stands still until it is told to move. */
class Client {
  bytes: number | undefined = 0;
  isRevoked = false;
  progress = () => this.bytes;
  revoke = () => {
    this.isRevoked = true;
  };
}

/** Whoever moves less than 1000 bytes a second for ten seconds stands still. */
function timed(units: number): { budget: Budget; pass: (seconds: number) => void } {
  let now = 0;
  const budget = new Budget({ units, stallMs: 10_000, leastRate: 1000, now: () => now });
  const pass = (seconds: number) => {
    now += seconds * 1000;
    budget.look();
  };
  return { budget, pass };
}

describe('a budget that many share', () => {
  it('lets one client have everything while nobody waits', () => {
    const budget = new Budget({ units: 3 });
    for (let count = 0; count < 3; count++) assert.ok(budget.tryTake({ caller: caller('a') }));
    assert.equal(budget.held, 3);
    assert.equal(budget.tryTake({ caller: caller('b') }), undefined);
  });

  it('gives what comes free to the cache that holds the least, then to the client that does', async () => {
    const budget = new Budget({ units: 3 });
    const held = [1, 2, 3].map(() => budget.tryTake({ caller: caller('a', 'greedy') }));
    const order: string[] = [];
    const waiting = [
      waitFor(budget, order, 'greedy again', caller('a', 'greedy')),
      waitFor(budget, order, 'modest', caller('a', 'modest')),
      waitFor(budget, order, 'other cache', caller('b', 'greedy')),
    ];
    for (const lease of held) {
      lease?.release();
      lease?.release();
      await settled();
    }
    assert.deepEqual(order, ['other cache', 'modest', 'greedy again']);
    for (const lease of await Promise.all(waiting)) lease.release();
    assert.equal(budget.held, 0);
  });

  it('serves who holds the same in the order of arrival, and no small one before a large one', async () => {
    const budget = new Budget({ units: 10 });
    const first = await budget.take({ caller: caller('a'), units: 8 });
    const order: string[] = [];
    const large = waitFor(budget, order, 'large', caller('a'), 5);
    const small = waitFor(budget, order, 'small', caller('a'), 1);
    await settled();
    assert.deepEqual(order, []);
    first.release();
    await Promise.all([large, small]);
    assert.deepEqual(order, ['large', 'small']);
  });

  it('serves small claims before large ones where it is told to, unless their client holds much', async () => {
    const budget = new Budget({ units: 10, isSmallFirst: true });
    const first = await budget.take({ caller: caller('a', 'greedy'), units: 10 });
    const order: string[] = [];
    const waiting = [
      waitFor(budget, order, 'large', caller('a', 'x'), 5),
      waitFor(budget, order, 'greedy', caller('a', 'greedy'), 1),
      waitFor(budget, order, 'small', caller('a', 'y'), 1),
    ];
    first.shrink(9);
    await settled();
    assert.deepEqual(order, ['small']);
    first.release();
    await Promise.all(waiting);
    assert.equal(budget.held, 7);
  });

  it('gives all that it has to who wants more, and takes back what is not needed', async () => {
    const budget = new Budget({ units: 10 });
    const lease = await budget.take({ caller: caller('a'), units: 1000 });
    assert.equal(budget.held, 10);
    lease.shrink(20);
    assert.equal(budget.held, 10);
    lease.shrink(4);
    assert.equal(budget.held, 4);
    assert.ok(budget.tryTake({ caller: caller('b'), units: 6 }));
    lease.release();
    assert.equal(budget.held, 6);
  });

  it('forgets who leaves while it waits, and lets those behind it go on', async () => {
    const budget = new Budget({ units: 10 });
    await budget.take({ caller: caller('a'), units: 8 });
    const leaving = new AbortController();
    const left = budget.take({ caller: caller('b'), units: 5 }, leaving.signal);
    const order: string[] = [];
    const next = waitFor(budget, order, 'next', caller('b'), 2);
    leaving.abort(new Error('gone'));
    await assert.rejects(left, /gone/);
    await next;
    assert.equal(budget.waiting, 0);
    assert.equal(budget.held, 10);
  });

  it('serves who goes on before who begins, so that nobody holds one thing and waits for another for good', async () => {
    const [slots, bytes] = [new Budget({ units: 2 }), new Budget({ units: 2 })];
    // Each body takes bytes, then a slot, and then as many bytes again while it sends the first.
    const push = async (cache: string) => {
      let held = await bytes.take({ caller: caller(cache) });
      const slot = await slots.take({ caller: caller(cache) });
      for (let part = 0; part < 5; part++) {
        const sent = held;
        const sending = settled().then(() => sent.release());
        held = await bytes.take({ caller: caller(cache), goesOn: true });
        await sending;
      }
      held.release();
      slot.release();
    };
    await Promise.all(Array.from({ length: 50 }, (_, index) => push(`${index % 7}`)));
    assert.equal(slots.held + bytes.held, 0);
  });

  it('takes a share from who stands still, once others wait, and first from who holds the most', async () => {
    const { budget, pass } = timed(3);
    const [one, two, three] = [new Client(), new Client(), new Client()];
    await budget.take({ caller: caller('a', 'many'), moving: one });
    await budget.take({ caller: caller('a', 'few'), moving: two });
    await budget.take({ caller: caller('a', 'many'), moving: three });
    // However long it stands still: nobody else wants anything.
    pass(100);
    assert.equal(budget.revoked, 0);
    const lease = await budget.take({ caller: caller('b') });
    assert.deepEqual([one.isRevoked, two.isRevoked, three.isRevoked], [true, false, false]);
    assert.equal(budget.held, 3);
    lease.release();
    assert.equal(budget.held, 2);
  });

  it('leaves alone who moves, who waits for us, and who cannot be seen', async () => {
    const { budget, pass } = timed(3);
    const [moves, waitsForUs] = [new Client(), new Client()];
    waitsForUs.bytes = undefined;
    const held = [
      await budget.take({ caller: caller('a'), moving: moves }),
      await budget.take({ caller: caller('a'), moving: waitsForUs }),
      await budget.take({ caller: caller('a') }),
    ];
    const waiting = budget.take({ caller: caller('b') });
    for (let second = 0; second < 100; second++) {
      moves.bytes = (moves.bytes ?? 0) + 1000;
      pass(1);
    }
    assert.equal(budget.revoked, 0);
    held[2]?.release();
    (await waiting).release();
  });

  it('takes a trickle for standing still, and serves who waits as soon as that is seen', async () => {
    const { budget, pass } = timed(1);
    const client = new Client();
    await budget.take({ caller: caller('a'), moving: client });
    const waiting = budget.take({ caller: caller('b') });
    for (let second = 0; second < 11; second++) {
      client.bytes = (client.bytes ?? 0) + 999;
      pass(1);
    }
    (await waiting).release();
    assert.ok(client.isRevoked);
  });

  it('forgets who took nothing, as for an empty body, once that is given back', async () => {
    const { budget, pass } = timed(1);
    const client = new Client();
    let looks = 0;
    client.progress = () => {
      looks++;
      return 0;
    };
    const claim = { caller: caller('a'), units: 0, moving: client };
    for (const take of [() => budget.tryTake(claim), () => budget.take(claim), () => budget.force(claim)]) {
      const lease = await take();
      pass(1);
      assert.equal(looks, 1);
      lease?.release();
      lease?.release();
      pass(1);
      assert.equal(looks, 1);
      looks = 0;
    }
    assert.deepEqual([budget.held, budget.waiting], [0, 0]);
  });

  it('counts a share that nobody may be kept waiting for', async () => {
    const budget = new Budget({ units: 1 });
    const [one, two] = [budget.force({ caller: caller('a') }), budget.force({ caller: caller('a') })];
    assert.equal(budget.held, 2);
    const waiting = budget.take({ caller: caller('b') });
    one.release();
    await settled();
    assert.equal(budget.waiting, 1);
    two.release();
    (await waiting).release();
    assert.equal(budget.held, 0);
  });

  it('never gives out more than it has, and serves everyone, whoever leaves', async () => {
    const claims = fc.record({
      cache: fc.constantFrom('a', 'b', 'c'),
      client: fc.constantFrom('1', '2'),
      units: fc.integer({ min: 1, max: 30 }),
      goesOn: fc.boolean(),
      leaves: fc.boolean(),
      turns: fc.integer({ min: 0, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(claims, { maxLength: 40 }), async (all) => {
        const budget = new Budget({ units: 20 });
        await Promise.all(
          all.map(async ({ cache, client, units, goesOn, leaves, turns }) => {
            const leaving = new AbortController();
            const taking = budget.take({ caller: caller(cache, client), units, goesOn }, leaving.signal);
            if (leaves) setImmediate(() => leaving.abort(new Error('gone')));
            const lease = await taking.catch(() => undefined);
            assert.ok(budget.held <= 20);
            for (let turn = 0; turn < turns; turn++) await settled();
            lease?.release();
          }),
        );
        assert.deepEqual([budget.held, budget.waiting], [0, 0]);
      }),
    );
  });
});
