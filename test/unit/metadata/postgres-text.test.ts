import assert from 'node:assert/strict';
import fc from 'fast-check';
import { literalText, numbered, quoteName, quoteValue } from '../../../server/metadata/postgres/text.ts';

describe('a statement for PostgreSQL', () => {
  it('has its places numbered', () => {
    assert.equal(numbered('SELECT ? FROM t WHERE a = ? AND b = ?'), 'SELECT $1 FROM t WHERE a = $2 AND b = $3');
    assert.equal(numbered('SELECT 1'), 'SELECT 1');
  });

  it('has its values written out, each in its place', () => {
    const text = literalText([
      ['INSERT INTO t VALUES (?, ?, ?)', "it's", 7, null],
      ['DELETE FROM t'],
      ['SELECT ? - ?', 1, -2],
    ]);
    assert.equal(text, "INSERT INTO t VALUES ('it''s', 7, NULL);DELETE FROM t;SELECT 1 -  -2;");
  });

  it('is refused with too many values, or too few', () => {
    assert.throws(() => literalText([['SELECT ?']]), /0 values for/);
    assert.throws(() => literalText([['SELECT 1', 1]]), /1 values for/);
  });

  it('takes no NUL, and no number that is none', () => {
    for (const value of ['a\0b', Number.NaN, Number.POSITIVE_INFINITY, ['\0']])
      assert.throws(() => quoteValue(value), /NUL|not a number/);
  });

  it('never lets a value end its literal', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        if (text.includes('\0')) return;
        const quoted = quoteValue(text);
        assert.equal(quoted.slice(1, -1).replaceAll("''", ''), text.replaceAll("'", ''));
        assert.match(quoted, /^'(?:[^']|'')*'$/s);
      }),
    );
  });

  it('takes any name between quotes', () => {
    assert.equal(quoteName('a"b'), '"a""b"');
    assert.throws(() => quoteName(''), /not a name/);
  });
});
