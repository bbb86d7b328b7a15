import assert from 'node:assert/strict';
import fc from 'fast-check';
import { HashSet } from '../../../server/nix/hash-set.ts';

const DIGITS = '0123456789abcdfghijklmnpqrsvwxyz';
/** Few digits make many hashes that differ in one place only; zeros are a hash like any other. */
const hashPart = fc.oneof(
  fc.string({ unit: fc.constantFrom(...DIGITS), minLength: 32, maxLength: 32 }),
  fc.string({ unit: fc.constantFrom('0', '1', 'z'), minLength: 2, maxLength: 2 }).map((it) => it.padEnd(32, '0')),
  fc.string({ unit: fc.constantFrom('0', '1', 'z'), minLength: 2, maxLength: 2 }).map((it) => it.padStart(32, '0')),
);

describe('the set of hash parts', () => {
  it('holds what a Set of texts holds', () => {
    fc.assert(
      fc.property(fc.array(hashPart, { maxLength: 300, size: 'max' }), fc.array(hashPart), (added, asked) => {
        const set = new HashSet(1);
        const model = new Set<string>();
        for (const it of added) {
          set.add(it);
          model.add(it);
          assert.equal(set.size, model.size);
        }
        for (const it of [...added, ...asked]) assert.equal(set.has(it), model.has(it), it);
      }),
    );
  });

  it('forgets what a Set of texts forgets', () => {
    const step = fc.tuple(fc.boolean(), fc.nat());
    // Few hashes in a small table: they crowd, wrap around its end, and come back after they went.
    const few = fc.uniqueArray(hashPart, { minLength: 1, maxLength: 14, size: 'max' });
    fc.assert(
      fc.property(few, fc.array(step, { maxLength: 200, size: 'max' }), (hashes, steps) => {
        const set = new HashSet(1);
        const model = new Set<string>();
        for (const [adds, index] of steps) {
          const it = hashes[index % hashes.length] ?? '';
          if (adds) set.add(it);
          else set.remove(it);
          if (adds) model.add(it);
          else model.delete(it);
          assert.equal(set.size, model.size);
          for (const other of hashes) assert.equal(set.has(other), model.has(other), other);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('keeps the others when every second of a hundred thousand goes', () => {
    const set = new HashSet();
    const at = (index: number) => index.toString(8).padStart(32, '0');
    for (let index = 0; index < 100_000; index++) set.add(at(index));
    for (let index = 0; index < 100_000; index += 2) set.remove(at(index));
    assert.equal(set.size, 50_000);
    for (let index = 0; index < 100_000; index++) assert.equal(set.has(at(index)), index % 2 === 1);
  });

  it('reads hash parts out of a longer text', () => {
    fc.assert(
      fc.property(fc.array(hashPart, { minLength: 1 }), (list) => {
        const text = list.join('');
        const set = new HashSet();
        for (let offset = 0; offset < text.length; offset += 32) set.add(text, offset);
        for (const it of list) assert.ok(set.has(it));
        assert.equal(set.size, new Set(list).size);
      }),
    );
  });

  it('neither holds nor takes what is no hash part', () => {
    const set = new HashSet();
    for (const text of ['', '0'.repeat(31), 'e'.repeat(32), 'A'.repeat(32), '\u{1f40b}'.repeat(32), '/'.repeat(32)]) {
      set.add(text);
      assert.equal(set.has(text), false, text);
    }
    assert.equal(set.size, 0);
  });

  it('keeps all of a hundred thousand', () => {
    const set = new HashSet();
    const at = (index: number) => index.toString(8).padStart(32, '0');
    for (let index = 0; index < 100_000; index++) set.add(at(index));
    assert.equal(set.size, 100_000);
    for (let index = 0; index < 100_000; index++) assert.ok(set.has(at(index)));
    assert.equal(set.has(at(100_000)), false);
  });
});
