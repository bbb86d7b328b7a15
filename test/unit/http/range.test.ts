import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseRange } from '../../../server/http/range.ts';

describe('a Range header', () => {
  const cases: [header: string | undefined, size: number, expected: ReturnType<typeof parseRange>][] = [
    [undefined, 10, undefined],
    ['bytes=0-', 10, { start: 0, end: 9 }],
    ['bytes=9-', 10, { start: 9, end: 9 }],
    ['bytes=2-4', 10, { start: 2, end: 4 }],
    ['bytes=2-400', 10, { start: 2, end: 9 }],
    ['bytes=-3', 10, { start: 7, end: 9 }],
    ['bytes=-30', 10, { start: 0, end: 9 }],
    [' bytes=1-1 ', 10, { start: 1, end: 1 }],
    ['bytes=10-', 10, 'unsatisfiable'],
    ['bytes=-0', 10, 'unsatisfiable'],
    ['bytes=0-', 0, 'unsatisfiable'],
    ['bytes=-5', 0, 'unsatisfiable'],
    ['bytes=4-2', 10, undefined],
    ['bytes=-', 10, undefined],
    ['bytes=0-1,3-4', 10, undefined],
    ['bytes=0x1-', 10, undefined],
    ['lines=0-1', 10, undefined],
    [`bytes=${'9'.repeat(16)}-`, 10, undefined],
    ['', 10, undefined],
  ];
  for (const [header, size, expected] of cases) {
    it(`${header ?? '(none)'} of ${size} bytes`, () => assert.deepEqual(parseRange(header, size), expected));
  }

  it('never asks for bytes that are not there', () => {
    const header = fc.oneof(
      fc.string(),
      fc.tuple(fc.nat(50), fc.nat(50)).map(([first, last]) => `bytes=${first}-${last}`),
      fc.nat(50).map((first) => `bytes=${first}-`),
      fc.nat(50).map((suffix) => `bytes=-${suffix}`),
    );
    fc.assert(
      fc.property(header, fc.nat(40), (text, size) => {
        const range = parseRange(text, size);
        if (range === undefined || range === 'unsatisfiable') return;
        assert.ok(0 <= range.start && range.start <= range.end && range.end < size);
      }),
    );
  });
});
