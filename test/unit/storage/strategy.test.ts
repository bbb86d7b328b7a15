import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Candidate, hasRoom, place, type StrategyName } from '../../../server/storage/index.ts';

const NAMES: readonly StrategyName[] = ['InOrder', 'RoundRobin', 'Split', 'LeastUsed'];

const bytes = fc.nat({ max: 2 ** 40 });
const candidates = fc
  .array(
    fc.record({
      usedBytes: bytes,
      capacityBytes: fc.option(bytes, { nil: undefined }),
      freeBytes: fc.option(bytes, { nil: undefined }),
      weight: fc.nat({ max: 100 }),
    }),
    { maxLength: 6 },
  )
  .map((list) => list.map((fields, index): Candidate => ({ ...fields, name: `s${index}` })));

/** A storage without limits. */
function storage(name: string, fields: Partial<Candidate> = {}): Candidate {
  return { name, usedBytes: 0, capacityBytes: undefined, freeBytes: undefined, weight: 1, ...fields };
}

function firstOf(strategy: StrategyName, list: readonly Candidate[], size = 1, turn = 0): string | undefined {
  return place(strategy, list, size, turn)[0]?.name;
}

/** Puts objects of these sizes one after the other; the storages as they are then. */
function fill(strategy: StrategyName, start: readonly Candidate[], sizes: readonly number[]): Candidate[] {
  let list = [...start];
  for (const [turn, size] of sizes.entries()) {
    const chosen = firstOf(strategy, list, size, turn);
    list = list.map((it) =>
      it.name === chosen
        ? {
            ...it,
            usedBytes: it.usedBytes + size,
            freeBytes: it.freeBytes === undefined ? undefined : it.freeBytes - size,
          }
        : it,
    );
  }
  return list;
}

describe('a strategy', () => {
  for (const name of NAMES) {
    it(`returns exactly the storages that have room: ${name}`, () => {
      fc.assert(
        fc.property(candidates, bytes, fc.nat(), (list, size, turn) => {
          const placed = place(name, list, size, turn);
          const open = list.filter((it) => hasRoom(it, size));
          assert.deepEqual(placed.map((it) => it.name).sort(), open.map((it) => it.name).sort());
        }),
      );
    });

    it(`leaves its input as it was: ${name}`, () => {
      fc.assert(
        fc.property(candidates, bytes, fc.nat(), (list, size, turn) => {
          const before = structuredClone(list);
          place(name, list, size, turn);
          assert.deepEqual(list, before);
        }),
      );
    });
  }

  it('has room up to the capacity and up to what the medium has free, and no further', () => {
    fc.assert(
      fc.property(bytes, bytes, bytes, (used, room, size) => {
        const fits = size <= room;
        assert.equal(hasRoom(storage('a', { usedBytes: used, capacityBytes: used + room }), size), fits);
        assert.equal(hasRoom(storage('a', { usedBytes: used, freeBytes: room }), size), fits);
        assert.equal(hasRoom(storage('a', { usedBytes: used }), size), true);
      }),
    );
  });
});

describe('InOrder', () => {
  it('keeps the order of the manifest', () => {
    fc.assert(
      fc.property(candidates, bytes, (list, size) => {
        const open = list.filter((it) => hasRoom(it, size));
        assert.deepEqual(place('InOrder', list, size, 0), open);
      }),
    );
  });

  it('skips a storage that is full by its capacity', () => {
    const list = [storage('a', { usedBytes: 95, capacityBytes: 100 }), storage('b')];
    assert.equal(firstOf('InOrder', list, 5), 'a');
    assert.equal(firstOf('InOrder', list, 6), 'b');
  });

  it('skips a storage whose disk is full', () => {
    const list = [storage('a', { freeBytes: 5 }), storage('b')];
    assert.equal(firstOf('InOrder', list, 5), 'a');
    assert.equal(firstOf('InOrder', list, 6), 'b');
  });

  it('finds nothing when everything is full', () => {
    assert.equal(firstOf('InOrder', [storage('a', { freeBytes: 5 })], 6), undefined);
  });
});

describe('RoundRobin', () => {
  it('gives each storage as many objects as the others, whatever their sizes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 20 }), (count, rounds) => {
        const list = Array.from({ length: count }, (_, index) => storage(`s${index}`));
        const times = new Map<string | undefined, number>();
        for (let turn = 0; turn < count * rounds; turn++) {
          const chosen = firstOf('RoundRobin', list, turn, turn);
          times.set(chosen, (times.get(chosen) ?? 0) + 1);
        }
        assert.deepEqual([...times.values()], Array(count).fill(rounds));
      }),
    );
  });
});

describe('Split', () => {
  it('comes as near to the weights, by bytes, as the largest object allows', () => {
    const weights = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 2, maxLength: 5 });
    const sizes = fc.array(fc.integer({ min: 1, max: 2 ** 30 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(weights, sizes, (weight, list) => {
        const start = weight.map((it, index) => storage(`s${index}`, { weight: it }));
        const end = fill('Split', start, list);
        const all = list.reduce((sum, size) => sum + size, 0);
        const allWeights = weight.reduce((sum, it) => sum + it, 0);
        const largest = Math.max(...list);
        for (const it of end) {
          // A storage gets an object only while it is below its share, so it is never further above it than one object;
          // what the others are above is what one may be below.
          const share = (all * it.weight) / allWeights;
          assert.ok(it.usedBytes <= share + largest, `${it.usedBytes} bytes, its share is ${share}`);
          assert.ok(it.usedBytes >= share - largest * (end.length - 1), `${it.usedBytes} bytes, its share is ${share}`);
        }
      }),
    );
  });

  it('uses a storage of weight 0 only when no other has room', () => {
    const list = [storage('rest', { weight: 0 }), storage('main', { usedBytes: 10, capacityBytes: 20 })];
    assert.equal(firstOf('Split', list, 10), 'main');
    assert.equal(firstOf('Split', list, 11), 'rest');
  });
});

describe('LeastUsed', () => {
  it('prefers the storage whose capacity is used least, by share', () => {
    const list = [
      storage('small', { usedBytes: 30, capacityBytes: 100 }),
      storage('large', { usedBytes: 200, capacityBytes: 1000 }),
    ];
    assert.equal(firstOf('LeastUsed', list), 'large');
  });

  it('takes what is used and free for the capacity where none is set', () => {
    const list = [storage('a', { usedBytes: 50, freeBytes: 50 }), storage('b', { usedBytes: 60, freeBytes: 140 })];
    assert.equal(firstOf('LeastUsed', list), 'b');
  });

  it('never puts a fuller storage first', () => {
    const limited = fc
      .array(fc.record({ used: fc.nat({ max: 1000 }), capacity: fc.integer({ min: 1, max: 1000 }) }), { minLength: 1 })
      .map((list) =>
        list.map(({ used, capacity }, index) => storage(`s${index}`, { usedBytes: used, capacityBytes: capacity })),
      );
    fc.assert(
      fc.property(limited, (list) => {
        const shares = place('LeastUsed', list, 1, 0).map((it) => it.usedBytes / (it.capacityBytes ?? 1));
        assert.deepEqual(
          shares,
          [...shares].sort((a, b) => a - b),
        );
      }),
    );
  });

  it('spreads over storages without limits by what each holds', () => {
    const list = [storage('a', { usedBytes: 2 }), storage('b', { usedBytes: 1 }), storage('c')];
    assert.deepEqual(
      place('LeastUsed', list, 1, 0).map((it) => it.name),
      ['c', 'b', 'a'],
    );
  });
});
