import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Position, Sort } from '../../../server/cache/index.ts';
import { type List, pageToken, parsePageToken } from '../../../server/http/page-token.ts';

const HASH = 'a'.repeat(32);
const refused = (error: Error) => {
  assert.match(error.message, /^page: this is no page of this list: begin without it$/);
  return true;
};

describe('the token of a page', () => {
  const list = (more: Partial<List> = {}): List => ({ cache: 'main', sort: 'hash', search: '', ...more });
  const cases: readonly [Sort, Position][] = [
    ['hash', { key: '', hashPart: HASH }],
    ['name', { key: 'hello-2.12', hashPart: HASH }],
    ['published', { key: 1_700_000_000_000, hashPart: HASH }],
  ];
  for (const [sort, position] of cases)
    it(`of paths by ${sort} comes back as it was, in no other list`, () => {
      const of = list({ sort, search: 'x' });
      const token = pageToken(of, position);
      assert.match(token, /^[\w-]+$/);
      assert.deepEqual(parsePageToken(token, of), position);
      const others = [list({ ...of, cache: 'other' }), list({ ...of, search: '' }), list({ ...of, search: 'xy' })];
      const sorts = cases.map(([it]) => list({ ...of, sort: it })).filter((it) => it.sort !== sort);
      for (const other of [...others, ...sorts]) assert.throws(() => parsePageToken(token, other), refused);
    });

  it('is refused where no server has made it', () => {
    const made = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const token = pageToken(list(), { key: '', hashPart: HASH });
    for (const text of [
      ...['', 'x', `${token}x`, `${token}=`, ` ${token}`, 'A'.repeat(100_000), made(null), made({}), made('x')],
      ...[made(['main', 'hash', '', '', HASH, 1]), made(['main', 'hash', '', 1, HASH]), made(['main', 'hash', '', ''])],
      ...[made(['main', 'hash', '', '', `${HASH}\0`]), made(['main', 'hash', '', '', 'e'.repeat(32)])],
    ])
      assert.throws(() => parsePageToken(text, list()), refused, text.slice(0, 100));
    for (const key of ['\0', "'", '', 1, null])
      assert.throws(() => parsePageToken(made(['main', 'name', '', key, HASH]), list({ sort: 'name' })), refused);
    for (const key of ['1', 1.5, 1e300, null])
      assert.throws(
        () => parsePageToken(made(['main', 'published', '', key, HASH]), list({ sort: 'published' })),
        refused,
      );
    fc.assert(fc.property(fc.string(), (text) => void assert.throws(() => parsePageToken(text, list()), refused)));
  });
});
