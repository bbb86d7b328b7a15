import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseQuantity, QuantityError } from '../../../crds/index.ts';

describe('a quantity', () => {
  const table: [string | number, number][] = [
    ['0', 0],
    [1024, 1024],
    ['64Ki', 65_536],
    ['256Mi', 268_435_456],
    ['10Gi', 10_737_418_240],
    ['5G', 5_000_000_000],
    ['3k', 3000],
    ['1.5Gi', 1_610_612_736],
    ['0.0001Ki', 1],
  ];
  for (const [text, bytes] of table) {
    it(`reads ${text} as ${bytes} bytes`, () => assert.equal(parseQuantity(text), bytes));
  }

  for (const text of [
    '',
    'Gi',
    '10GB',
    '10 Gi',
    '-1',
    '1e3',
    '500m',
    '0x10',
    '1.',
    '.5',
    '10gi',
    '1toString',
    '9Pi',
    NaN,
    1.5e300,
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parseQuantity(text), QuantityError));
  }

  it('reads every number of bytes as itself', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => parseQuantity(bytes) === bytes && parseQuantity(`${bytes}`) === bytes),
    );
  });
});
