import assert from 'node:assert/strict';
import fc from 'fast-check';
import { HashIndex } from '../../../server/nix/hash-index.ts';
import { readHashPart, WORDS, writeHashPart } from '../../../server/nix/hash-words.ts';

const DIGITS = '0123456789abcdfghijklmnpqrsvwxyz';
const hashPart = fc.oneof(
  fc.string({ unit: fc.constantFrom(...DIGITS), minLength: 32, maxLength: 32 }),
  fc.string({ unit: fc.constantFrom('0', '1', 'z'), minLength: 2, maxLength: 2 }).map((it) => it.padEnd(32, '0')),
);

describe('an index of hash parts', () => {
  it('gives each the number of its turn', () => {
    fc.assert(
      fc.property(fc.array(hashPart, { maxLength: 200 }), (all) => {
        const index = new HashIndex(1);
        const model: string[] = [];
        for (const it of all) {
          if (!model.includes(it)) model.push(it);
          assert.equal(index.add(`/nix/store/${it}-x`, '/nix/store/'.length), model.indexOf(it));
          assert.equal(index.size, model.length);
        }
        for (const [number, it] of model.entries()) {
          assert.equal(index.get(it), number);
          assert.equal(index.textOf(number), it);
        }
      }),
    );
  });

  it('has none for what is no hash part, or was never added', () => {
    const index = new HashIndex();
    for (const text of ['', 'e'.repeat(32), '0'.repeat(31)]) assert.equal(index.add(text), -1);
    assert.equal(index.get('0'.repeat(32)), -1);
    assert.equal(index.size, 0);
  });

  it('writes what it has read', () => {
    const words = new Uint32Array(2 * WORDS);
    fc.assert(
      fc.property(hashPart, (text) => {
        assert.ok(readHashPart(text, 0, words));
        assert.equal(writeHashPart(words, 0), text);
      }),
    );
  });
});
