import assert from 'node:assert/strict';
import fc from 'fast-check';
import { CacheError } from '../../../server/cache/index.ts';
import { HashList } from '../../../server/http/hash-list.ts';

const LONGEST = 64;

function read(text: string, maxCount = 100): string[] {
  const list = new HashList(maxCount);
  list.write(Buffer.from(text));
  return list.end();
}

/** Bytes that were taken before the list was refused. */
function refusedAfter(text: string, maxCount = 100): number {
  const list = new HashList(maxCount);
  for (const [index, byte] of Buffer.from(text).entries()) {
    try {
      list.write(Buffer.of(byte));
    } catch (error) {
      assert.ok(error instanceof CacheError, String(error));
      return index;
    }
  }
  throw new Error('it was not refused');
}

describe('a list of hashes', () => {
  const short = fc.string({ unit: fc.constantFrom(...'0123456789abcdfghijklmnpqrsvwxyz é'), maxLength: 32 });

  it('is what a parser of JSON reads, wherever its pieces are cut', () => {
    fc.assert(
      fc.property(fc.array(short), fc.constantFrom('', ' ', '\n\t'), fc.array(fc.nat(40)), (texts, space, cuts) => {
        const body = Buffer.from(JSON.stringify(texts, null, space));
        const list = new HashList(1000);
        let at = 0;
        for (const cut of cuts) {
          list.write(body.subarray(at, at + cut));
          at += cut;
        }
        list.write(body.subarray(at));
        assert.deepEqual(list.end(), texts);
      }),
    );
  });

  it('takes what a parser of JSON takes of lists of plain texts, and nothing else', () => {
    const junk = fc.string({ unit: fc.constantFrom('[', ']', '"', ',', ' ', 'a', '{', '0', '\\') });
    fc.assert(
      fc.property(junk, (text) => {
        let parsed: unknown;
        try {
          parsed = JSON.parse(text);
        } catch {}
        const isList =
          Array.isArray(parsed) && parsed.every((item) => typeof item === 'string') && !text.includes('\\');
        if (isList) assert.deepEqual(read(text), parsed);
        else assert.throws(() => read(text), CacheError);
      }),
      { numRuns: 2000 },
    );
  });

  const wrong: readonly (readonly [what: string, text: string, at: number])[] = [
    ['lists in it', '[[[[', 1],
    ['an object', '{"a":1}', 0],
    ['a number', '["a",1', 5],
    ['a text that is longer than any hash', `["${'a'.repeat(LONGEST + 1)}`, 2 + LONGEST],
    ['an escape', '["a\\n', 3],
    ['a line break in a text', '["a\n', 3],
    ['a comma too many', '["a",]', 5],
    ['something behind its end', '[]x', 2],
    ['a text without a list', '"a"', 0],
  ];
  for (const [what, text, at] of wrong)
    it(`is refused at the first wrong byte: ${what}`, () => assert.equal(refusedAfter(text), at));

  it('is refused with the text that is one too many', () => {
    assert.deepEqual(read('["a","b"]', 2), ['a', 'b']);
    assert.equal(refusedAfter('["a","b","c"', 2), 11);
  });

  it('is refused where it does not end', () => {
    for (const text of ['', '[', '["a"', '["a'])
      assert.throws(() => read(text), /^CacheError: the list of hashes is cut off/);
  });
});
