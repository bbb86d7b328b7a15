import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseQuantity, roundBytes } from '../../../crds/index.ts';

describe('sizes for people', () => {
  for (const [bytes, text] of [
    [0, '0'],
    [999, '999'],
    [1000, '1Ki'],
    [1024, '1Ki'],
    [1536, '1.5Ki'],
    [5 * 2 ** 20, '5Mi'],
    [44.4 * 2 ** 30, '44Gi'],
    [100 * 2 ** 30, '100Gi'],
    [999.7 * 2 ** 20, '1Gi'],
    [1.26 * 2 ** 40, '1.3Ti'],
    [9.96 * 2 ** 30, '10Gi'],
  ] as const)
    it(`are short: ${text}`, () => assert.equal(roundBytes(bytes), text));

  it('are quantities of at most three digits and a unit, and off by a twentieth at most', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (bytes) => {
        const text = roundBytes(bytes);
        assert.match(text, /^(\d{1,3}|\d\.\d)(|Ki|Mi|Gi|Ti|Pi)$/);
        assert.ok(Math.abs(parseQuantity(text) - bytes) <= bytes / 20, text);
      }),
    );
  });
});
