import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  decodeNix32,
  encodeNix32,
  equalHashes,
  FormatError,
  formatHash,
  hashToHex,
  NIX32_ALPHABET,
  parseHash,
  sha256FromHex,
} from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

describe('nix32', () => {
  it('reads back what it wrote, for bytes of any length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        assert.deepEqual(decodeNix32(encodeNix32(bytes)), Buffer.from(bytes));
      }),
    );
  });

  it('takes only the text that it would write', () => {
    const digits = fc.string({ unit: fc.constantFrom(...NIX32_ALPHABET), maxLength: 64 });
    fc.assert(
      fc.property(digits, (text) => {
        let bytes: Buffer;
        try {
          bytes = decodeNix32(text);
        } catch (error) {
          assert.ok(error instanceof FormatError);
          return;
        }
        assert.equal(encodeNix32(bytes), text);
      }),
    );
  });

  it('refuses a bit set beyond the last byte', () => {
    assert.throws(() => decodeNix32(`z${'0'.repeat(51)}`), /bits set beyond/);
  });

  for (const digit of ['e', 'o', 'u', 't', 'A', ' ', '\u00e9']) {
    it(`refuses the digit ${JSON.stringify(digit)}`, () => {
      assert.throws(() => decodeNix32(`${'0'.repeat(31)}${digit}`), FormatError);
    });
  }
});

describe('hashes', () => {
  it('reads and writes each form as Nix does', () => {
    for (const { algorithm, hex, nix32, base64, sri } of vectors.hashes) {
      for (const text of [`${algorithm}:${hex}`, `${algorithm}:${nix32}`, `${algorithm}:${base64}`, sri]) {
        const hash = parseHash(text);
        assert.equal(hashToHex(hash), hex);
        assert.equal(formatHash(hash), `${algorithm}:${nix32}`);
      }
    }
  });

  it('reads text without a prefix only where the algorithm is known', () => {
    const hex = 'ab'.repeat(32);
    assert.equal(hashToHex(parseHash(hex, { algorithm: 'sha256' })), hex);
    assert.throws(() => parseHash(hex), /expected algorithm:digest/);
    assert.ok(equalHashes(sha256FromHex(hex.toUpperCase()), parseHash(`sha256:${hex}`)));
  });

  it('names the field and what is expected', () => {
    assert.throws(
      () => parseHash(`sha1:${'0'.repeat(32)}`, { algorithm: 'sha256', field: 'NarHash' }),
      /^FormatError: NarHash: expected a sha256 hash, got 'sha1:0{32}'$/,
    );
  });

  for (const text of [
    '',
    'sha256:',
    'sha256:abc',
    'blake3:00',
    `sha256-${'0'.repeat(52)}`,
    `sha256:${'g'.repeat(64)}`,
  ]) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.throws(() => parseHash(text), FormatError);
    });
  }

  it('refuses base64 with stray bits or characters', () => {
    assert.throws(() => parseHash(`sha256:${'A'.repeat(42)}B=`), FormatError);
    assert.throws(() => parseHash(`sha256:${'A'.repeat(41)}\n==`), FormatError);
  });
});
