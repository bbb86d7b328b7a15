import * as assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  FormatError,
  isBasename,
  isHashPart,
  isStorePath,
  NIX32_ALPHABET,
  parseBasename,
  parseStorePath,
} from '../../../server/nix/index.ts';
import { vectors } from './vectors.ts';

const HASH = '7rjj86a15146cq1d3qy068lml7n7ykzm';

describe('store paths', () => {
  it('takes apart every path that Nix made', () => {
    for (const { storePath } of vectors.paths) {
      const parsed = parseStorePath(storePath);
      assert.equal(parsed.path, storePath);
      assert.equal(`/nix/store/${parsed.hashPart}-${parsed.name}`, storePath);
      assert.deepEqual(parseBasename(parsed.basename), parsed);
    }
  });

  it('agrees with its guards on any text', () => {
    const text = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.string({ unit: fc.constantFrom(...NIX32_ALPHABET), minLength: 31, maxLength: 33 }), fc.string())
        .map(([hash, name]) => `${hash}-${name}`),
    );
    fc.assert(
      fc.property(text, (basename) => {
        const path = `/nix/store/${basename}`;
        assert.equal(isBasename(basename), isStorePath(path));
        if (isBasename(basename)) assert.equal(parseBasename(basename).path, path);
        else assert.throws(() => parseBasename(basename), FormatError);
      }),
    );
  });

  for (const name of ['a', '+-._?=', '.a', '...', '..a', 'n'.repeat(211)]) {
    it(`takes the name ${name.slice(0, 10)}`, () => {
      assert.equal(parseBasename(`${HASH}-${name}`).name, name);
    });
  }

  for (const name of ['', '.', '..', '.-a', '..-a', 'a b', 'a/b', 'a\0', 'a\n', '\u00e9', 'n'.repeat(212)]) {
    it(`refuses the name ${JSON.stringify(name.slice(0, 10))}`, () => {
      assert.throws(() => parseStorePath(`/nix/store/${HASH}-${name}`), /the name/);
    });
  }

  it('refuses other store folders and hash parts', () => {
    for (const path of [`/gnu/store/${HASH}-a`, `/nix/store/${HASH}`, `${HASH}-a`, `/nix/store/x${HASH}-a`, '']) {
      assert.throws(() => parseStorePath(path), FormatError);
    }
    for (const text of [
      '',
      HASH.slice(1),
      `${HASH}0`,
      HASH.toUpperCase(),
      HASH.replace('7', 'e'),
      `${HASH.slice(1)}\n`,
    ]) {
      assert.equal(isHashPart(text), false);
    }
  });

  it('shows a hostile name as plain ASCII of bounded length', () => {
    assert.throws(
      () => parseBasename(`${HASH}-\u001b[31m${'x'.repeat(5000)}`),
      (error: Error) => /^[ -~]{1,300}$/.test(error.message),
    );
  });
});
