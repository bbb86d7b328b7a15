import assert from 'node:assert/strict';
import { RoundRobin, roundsOf } from '../../../../../operator/cache/observe/round-robin.ts';

const group = (name: string, count: number) =>
  [name, Array.from({ length: count }, (_, index) => `${name}${index}`)] as const;
const of = (items: readonly string[], name: string) => items.filter((it) => it.startsWith(name));

describe('turns', () => {
  it('take all in every round where there is time for all', () => {
    const turns = new RoundRobin<string>();
    const groups = new Map([group('a', 3), group('b', 1), group('c', 0)]);
    for (let round = 0; round < 3; round++) assert.deepEqual(turns.take(groups, 4).sort(), ['a0', 'a1', 'a2', 'b0']);
    assert.equal(roundsOf(groups, 4), 1);
  });

  it('leave a small group all of its own, however large another is', () => {
    const turns = new RoundRobin<string>();
    const groups = new Map([group('flood', 100_000), group('small', 5)]);
    const seen = new Set<string>();
    for (let round = 0; round < 4; round++) {
      const taken = turns.take(groups, 20);
      assert.equal(taken.length, 20);
      assert.deepEqual(of(taken, 'small').sort(), ['small0', 'small1', 'small2', 'small3', 'small4']);
      for (const item of of(taken, 'flood')) seen.add(item);
    }
    assert.equal(seen.size, 4 * 15);
    assert.equal(roundsOf(groups, 20), 100_000 / 15);
  });

  it('come to everybody, also where there are more groups than turns', () => {
    const turns = new RoundRobin<string>();
    const groups = new Map(Array.from({ length: 7 }, (_, index) => group(String.fromCharCode(97 + index), 2)));
    const seen = new Set(Array.from({ length: 5 }, () => turns.take(groups, 3)).flat());
    assert.equal(seen.size, 14);
  });

  it('go on where they ended, whoever comes, goes, grows and shrinks meanwhile', () => {
    const turns = new RoundRobin<string>();
    assert.deepEqual(turns.take(new Map([group('a', 5)]), 3), ['a0', 'a1', 'a2']);
    assert.deepEqual(turns.take(new Map([group('a', 5)]), 3), ['a3', 'a4', 'a0']);
    assert.deepEqual(turns.take(new Map([group('b', 1), group('a', 2)]), 3).sort(), ['a0', 'a1', 'b0']);
    assert.deepEqual(turns.take(new Map([group('b', 0)]), 3), []);
    assert.deepEqual(turns.take(new Map([group('b', 2)]), 3), ['b0', 'b1']);
    assert.deepEqual(turns.take(new Map(), 3), []);
    assert.equal(roundsOf(new Map(), 3), 1);
  });
});
