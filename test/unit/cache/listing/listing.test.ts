import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { closureQuery, closureSize } from '../../../../server/cache/listing/closure-size.ts';
import { DETAILS_QUERY } from '../../../../server/cache/listing/details.ts';
import { Listing, type ListingRequest } from '../../../../server/cache/listing/listing.ts';
import {
  foundStatement,
  MOST_FOUND,
  type Position,
  pageStatement,
  SORTS,
  type Sort,
} from '../../../../server/cache/listing/rows.ts';
import { OBJECT_COUNT_QUERY } from '../../../../server/cache/listing/sums.ts';
import { SqliteDatabase, type Statement } from '../../../../server/metadata/index.ts';

interface Row {
  readonly hashPart: string;
  readonly name: string;
  readonly publishedAt: number;
  readonly refs?: readonly string[];
  /** Of its NAR, which may be that of another path. */
  readonly nar?: number;
  readonly size?: number;
}

describe('lists of paths', () => {
  let folder: string;
  let database: SqliteDatabase;
  let listing: Listing;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-listing-'));
    database = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    // No narinfo and no pin is asked for here.
    listing = new Listing({ database, paths: { find: async () => undefined }, pins: { namesOf: async () => [] } });
  });
  after(async () => {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(() => database.script([['DELETE FROM paths'], ['DELETE FROM objects']]));

  async function fill(rows: readonly Row[]): Promise<void> {
    const statements = rows.flatMap(
      ({ hashPart, name, publishedAt, refs = [], nar, size = 10 }, index): Statement[] => {
        const id = nar ?? index + 1_000_000;
        return [
          [
            `INSERT INTO objects (id, key, storage, name, size, state, created_at, nar_size) VALUES (?, ?, 'disk', ?, ?, 'verified', 1, ?)
           ON CONFLICT (id) DO NOTHING`,
            ...[id, `nar/${id}`, `${id}`, size, 10 * size],
          ],
          [
            'INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at) VALUES (?, ?, ?, ?, ?, ?)',
            ...[hashPart, name, id, refs.map((it) => `${it}-x`).join(' '), '', publishedAt],
          ],
        ];
      },
    );
    await database.script(statements);
  }

  async function all(request: Pick<ListingRequest, 'search' | 'sort' | 'limit'>): Promise<string[]> {
    const found: string[] = [];
    for (let after: Position | undefined; ; ) {
      const { paths, next } = await listing.page({ ...request, after });
      assert.ok(paths.length <= request.limit);
      found.push(...paths.map((it) => it.hashPart));
      if (next === undefined) return found;
      assert.equal(paths.length, request.limit);
      after = next;
    }
  }

  const digit = fc.constantFrom('0', '9', 'a', 'z');
  const row = fc.record({
    hashPart: fc.tuple(digit, digit, digit).map((digits) => digits.join('').padEnd(32, '0')),
    name: fc
      .array(fc.constantFrom('a', 'z', 'A', 'Z', '0', '-', '_', '+', '='), { minLength: 1, maxLength: 4 })
      .map((it) => it.join('')),
    publishedAt: fc.integer({ min: 1, max: 4 }),
  });
  const before_ = (a: string | number, b: string | number) => (a < b ? -1 : a > b ? 1 : 0);
  const compare: Record<Sort, (a: Row, b: Row) => number> = {
    hash: (a, b) => before_(a.hashPart, b.hashPart),
    name: (a, b) => before_(a.name, b.name) || before_(a.hashPart, b.hashPart),
    published: (a, b) => before_(b.publishedAt, a.publishedAt) || before_(b.hashPart, a.hashPart),
  };

  it('have each path once, in order, whatever is searched and however large pages are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(row, { maxLength: 30, selector: (it) => it.hashPart }),
        fc.constantFrom(...SORTS),
        fc.integer({ min: 1, max: 8 }),
        fc.oneof(
          fc.constant(''),
          fc.array(fc.constantFrom('a', 'z', 'Z', '0', '-', '='), { maxLength: 3 }).map((it) => it.join('')),
        ),
        async (rows, sort, limit, search) => {
          await database.script([['DELETE FROM paths'], ['DELETE FROM objects']]);
          await fill(rows);
          const wanted = rows
            .filter((it) => it.hashPart.startsWith(search) || it.name.startsWith(search))
            .sort(compare[sort])
            .map((it) => it.hashPart);
          assert.deepEqual(await all({ search, sort, limit }), wanted);
        },
      ),
      { numRuns: 60 },
    );
  });

  for (const sort of SORTS)
    it(`by ${sort} show what was there at the beginning once, while paths come and go`, async () => {
      const of = (number: number): Row => ({
        hashPart: String(number % 7).padEnd(28, '0') + String(number).padStart(4, '0'),
        name: `n${(number * 13) % 50}`,
        publishedAt: (number * 7) % 20,
      });
      const first = Array.from({ length: 40 }, (_, index) => of(2 * index));
      await fill(first);
      const seen: string[] = [];
      let turn = 0;
      for (let after: Position | undefined; ; turn++) {
        const { paths, next } = await listing.page({ search: '', sort, limit: 3, after });
        seen.push(...paths.map((it) => it.hashPart));
        if (next === undefined) break;
        after = next;
        await fill([{ ...of(2 * turn + 1), nar: 1 }]);
        // Where the page ended, too.
        await database.script([['DELETE FROM paths WHERE hash_part = ?', next.hashPart]]);
      }
      const kept = new Set(first.map((it) => it.hashPart));
      assert.deepEqual(
        seen.filter((it) => kept.has(it)),
        [...first].sort(compare[sort]).map((it) => it.hashPart),
      );
      assert.equal(new Set(seen).size, seen.length);
    });

  it('are refused where a search finds too much in an order that is not its own', async () => {
    const rows = Array.from({ length: MOST_FOUND + 1 }, (_, index) => ({
      ...{ hashPart: String(index).padStart(32, '0'), name: `python-${index}`, publishedAt: index, nar: 1 },
    }));
    await fill(rows);
    for (const [search, sort] of [
      ['python', 'hash'],
      ['python', 'published'],
      ['p', 'name'],
      ['0', 'hash'],
    ] as const)
      await assert.rejects(listing.page({ search, sort, limit: 10, after: undefined }), {
        code: 'Invalid',
        message: `search: more than ${MOST_FOUND} paths begin so: write more of the name, or sort by name`,
      });
    assert.equal((await all({ search: 'python', sort: 'name', limit: 1000 })).length, MOST_FOUND + 1);
    assert.equal((await all({ search: 'python-77', sort: 'hash', limit: 7 })).length, 111);
  });

  it('find in no plan of SQLite a table that is read as a whole, or sorted', async () => {
    // Explaining leaves its connection in the transaction that it began.
    const explained = await SqliteDatabase.open({ file: path.join(folder, 'explained.sqlite') });
    const after = { key: 'x', hashPart: 'x' };
    const page = (sort: Sort, more: object = {}) =>
      pageStatement(explained, { sort, limit: 100, after: undefined, among: undefined, ...more });
    const inOrder = SORTS.flatMap((sort) => [page(sort), page(sort, { after })]);
    const others: Statement[] = [
      ...SORTS.map((sort) => page(sort, { after, among: { hashParts: ['x'] } })),
      foundStatement(explained, 'x'),
      [closureQuery(explained), explained.list(['x'])],
      [DETAILS_QUERY, 'x'],
      [OBJECT_COUNT_QUERY, 'disk'],
    ];
    const stepsOf = async ([text, ...values]: Statement) =>
      explained.query<{ detail: string; parent: number }>(`EXPLAIN QUERY PLAN ${text}`, values);
    const isWhole = (step: string) => /^SCAN (?!json_each|by_hash|by_name|few|\(|p USING INDEX)/.test(step);
    for (const statement of [...inOrder, page('name', { after, among: { prefix: 'x' } })]) {
      // Of the page itself, which is cut out of all paths; what is joined to it is few.
      const steps = (await stepsOf(statement)).filter((it) => it.parent !== 0).map((it) => it.detail);
      assert.ok(
        steps.some((step) => /^(?:SCAN|SEARCH) p USING (?:COVERING )?INDEX/.test(step)),
        String(steps),
      );
      assert.deepEqual(
        steps.filter((step) => isWhole(step) || step.includes('TEMP B-TREE')),
        [],
        statement[0],
      );
    }
    // What is found is sorted: it is bounded. An index that is read from its beginning is not.
    for (const statement of others) {
      const steps = await stepsOf(statement);
      const whole = steps.filter(({ detail, parent }) => isWhole(detail) && !(parent === 0 && detail === 'SCAN p'));
      assert.deepEqual(
        whole.map((it) => it.detail),
        [],
        statement[0],
      );
      assert.ok(!steps.some((it) => it.detail.startsWith('SCAN p USING')), statement[0]);
    }
    await explained.close();
  });

  describe('the size of a closure', () => {
    const hash = (name: string) => name.padEnd(32, '0');
    const { signal } = new AbortController();
    const of = (name: string, ...refs: string[]): Row => ({
      ...{ hashPart: hash(name), name, publishedAt: 1, refs: refs.map(hash) },
    });

    it('has each path and each NAR once', async () => {
      await fill([
        { ...of('a', 'a', 'b', 'c'), size: 1 },
        { ...of('b', 'd', 'gone'), size: 10 },
        // The same file as that of d.
        { ...of('c', 'd'), nar: 7, size: 100 },
        { ...of('d', 'a'), nar: 7, size: 100 },
        { ...of('other'), size: 5 },
      ]);
      assert.deepEqual(await closureSize(database, hash('a'), signal), {
        ...{ paths: 4, fileBytes: 111, narBytes: 1110, missing: 1, isCut: false },
      });
    });

    it('ends at a bound, and says so', async () => {
      const rows = Array.from({ length: 3000 }, (_, index) => of(`a${index}z`, `a${index + 1}z`));
      await fill([...rows, of('a3000z')]);
      const size = (most: number) => closureSize(database, hash('a0z'), signal, most);
      assert.deepEqual(await size(3000), {
        paths: 3000,
        fileBytes: 30_000,
        narBytes: 300_000,
        missing: 0,
        isCut: true,
      });
      assert.deepEqual(await size(3001), {
        paths: 3001,
        fileBytes: 30_010,
        narBytes: 300_100,
        missing: 0,
        isCut: false,
      });
      await assert.rejects(closureSize(database, hash('a0z'), AbortSignal.abort()), { name: 'AbortError' });
    });
  });
});
