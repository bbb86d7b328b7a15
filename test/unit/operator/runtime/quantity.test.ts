import assert from 'node:assert/strict';
import fc from 'fast-check';
import { sameQuantity } from '../../../../operator/runtime/index.ts';

describe('quantities', () => {
  for (const [a, b] of [
    ['1Gi', '1024Mi'],
    ['1', '1000m'],
    [1, '1'],
    [0.5, '500m'],
    ['1.5Gi', '1536Mi'],
    ['2e3', '2k'],
    ['1E', '1e18'],
    ['.5', '0.5'],
    ['5.', '5'],
    ['+1', '1'],
    ['-1', '-1000m'],
    ['0', '0Gi'],
    ['0.0000000001', '1n'],
  ]) {
    it(`are the same: ${a} and ${b}`, () => assert.ok(sameQuantity(a, b)));
  }

  for (const [a, b] of [
    ['1G', '1Gi'],
    ['1', '1m'],
    ['-1', '1'],
    ['9007199254740993', '9007199254740992'],
    ['1', 'x'],
    ['x', 'x'],
    ['', ''],
    ['.', '.'],
    ['1Xi', '1Xi'],
    [true, true],
    [undefined, undefined],
  ]) {
    it(`are not the same: ${a} and ${b}`, () => assert.ok(!sameQuantity(a, b)));
  }

  it('are the same in any unit that holds them exactly', () => {
    fc.assert(
      fc.property(fc.nat({ max: 1e6 }), fc.constantFrom('k', 'M', 'G', 'T', 'P'), (count, unit) => {
        const zeros = { k: 3, M: 6, G: 9, T: 12, P: 15 }[unit] ?? 0;
        assert.ok(sameQuantity(`${count}${unit}`, `${count}${'0'.repeat(zeros)}`));
        assert.ok(!sameQuantity(`${count}${unit}`, `${count + 1}${unit}`));
      }),
    );
  });
});
