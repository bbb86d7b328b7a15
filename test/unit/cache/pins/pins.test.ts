import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { type Keep, type Pin, Pins } from '../../../../server/cache/pins/index.ts';
import { addRevision, MOST_PINS } from '../../../../server/cache/pins/rows.ts';
import { SqliteDatabase } from '../../../../server/metadata/index.ts';
import { brief, gathered, hashPartOf, pinOf, publishRows } from '../../../support/pins.ts';

const DAY_MS = 86_400_000;
const PATHS = [0, 1, 2, 3];

describe('pins', () => {
  let folder: string;
  let database: SqliteDatabase;
  let pins: Pins;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-pins-'));
    database = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    await publishRows(database, PATHS);
  });
  after(async () => {
    await database.close();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    await database.script([['DELETE FROM pins']]);
    pins = new Pins({ database, revive: async () => [], logger: pino({ level: 'silent' }) });
  });

  const history = async (name: string) => brief(await gathered(pins.history(name)));
  const pin = (name: string, number: number, rest: Partial<Pin> = {}) => pins.pin(pinOf(name, number, rest), 'push');

  it('count revisions up from 1, and show the newest first', async () => {
    for (const number of [0, 1, 0]) await pin('a', number);
    await pin('b', 2, { artifacts: ['bin/x'], keep: { tag: 'Days', contents: 2 } });
    assert.deepEqual(await history('a'), ['3:p0', '2:p1', '1:p0']);
    const [a, b] = await gathered(pins.list());
    assert.equal(a?.revision, 3);
    const { createdAt, ...rest } = b ?? { createdAt: 0 };
    assert.ok(Math.abs(createdAt - Date.now()) < 600_000);
    assert.deepEqual(rest, {
      ...pinOf('b', 2, { artifacts: ['bin/x'], keep: { tag: 'Days', contents: 2 } }),
      ...{ revision: 1, origin: 'api', token: 'push', isPresent: true },
    });
  });

  it('are the same when the same is pinned again, and one more when anything differs', async () => {
    await pin('a', 0);
    await pin('a', 0);
    assert.deepEqual(await history('a'), ['1:p0']);
    await pin('a', 0, { keep: { tag: 'Forever' } });
    await pin('a', 0, { keep: { tag: 'Forever' } });
    await pin('a', 0, { artifacts: ['x'] });
    assert.deepEqual(await history('a'), ['3:p0', '2:p0', '1:p0']);
  });

  it('are of published paths alone, by hash and name', async () => {
    await assert.rejects(pin('a', 9), { code: 'NotFound', message: /p9 is not published here: push it/ });
    const other = pinOf('a', 0, { path: { hashPart: hashPartOf(0), name: 'other' } });
    await assert.rejects(pins.pin(other, null), { code: 'NotFound' });
    await database.script([[`UPDATE objects SET state = 'lost' WHERE key = 'nar/3'`]]);
    await assert.rejects(pin('a', 3), { code: 'NotFound' });
    await database.script([[`UPDATE objects SET state = 'verified' WHERE key = 'nar/3'`]]);
    assert.deepEqual(await gathered(pins.list()), []);
  });

  it('go by name, and begin with 1 again', async () => {
    for (const number of [0, 1]) await pin('a', number);
    await pins.unpin('a');
    await assert.rejects(pins.unpin('a'), { code: 'NotFound', message: 'no such pin' });
    await assert.rejects(gathered(pins.history('a')), { code: 'NotFound' });
    await pin('a', 2);
    assert.deepEqual(await history('a'), ['1:p2']);
  });

  it('tell each pinned hash part once, of all revisions, over many pages', async () => {
    const many = Array.from({ length: 1200 }, (_, index) => 1000 + index);
    // More rows of one path than a page has.
    await database.script([
      [`INSERT INTO pins (name, revision) VALUES ('same', 12000)`],
      [
        `INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, created_at, origin)
         SELECT 'same', value, ?, 'p1', '[]', 0, 'api' FROM json_each(?)`,
        hashPartOf(1),
        JSON.stringify(Array.from({ length: 12_000 }, (_, index) => index + 1)),
      ],
    ]);
    await publishRows(database, many);
    await Promise.all(many.map((number) => pin('many', number)));
    await Promise.all(PATHS.map((number) => pin(`n${number}`, number)));
    await pin('again', 1000);
    const all = await gathered(pins.pinnedHashParts());
    assert.deepEqual(all, [...PATHS, ...many].map(hashPartOf));
    assert.equal((await history('many')).length, 1200);
  });

  const keeps = fc.oneof(
    fc.constant(null),
    fc.constant({ tag: 'Forever' } as const),
    fc.record({
      tag: fc.constantFrom('Days' as const, 'Revisions' as const),
      contents: fc.integer({ min: 1, max: 6 }),
    }),
  );

  it('keep the newest revision, and of the others what the rule of the newest says', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ path: fc.constantFrom(...PATHS), keep: keeps, hours: fc.integer({ min: 0, max: 72 }) }), {
          minLength: 1,
          maxLength: 12,
        }),
        fc.integer({ min: 0, max: 20 }),
        async (steps, daysLater) => {
          await database.script([['DELETE FROM pins']]);
          let now = 1_000_000_000_000;
          const model: { revision: number; at: number; text: string; keep: Keep }[] = [];
          for (const { path, keep, hours } of steps) {
            now += hours * 3600_000;
            const text = JSON.stringify([path, keep]);
            await database.write((sql) =>
              addRevision(sql, pinOf('x', path, { keep }), { origin: 'api', token: null }, now),
            );
            if (model.at(-1)?.text !== text) model.push({ revision: model.length + 1, at: now, text, keep });
          }
          now += daysLater * DAY_MS;
          const newest = model.at(-1);
          const stays = model.filter(({ revision, at }) => {
            if (revision === newest?.revision) return true;
            const keep = newest?.keep ?? { tag: 'Forever' };
            if (keep.tag === 'Days') return now - at <= keep.contents * DAY_MS;
            return keep.tag === 'Forever' || revision > model.length - keep.contents;
          });
          await pins.dropExpired(now);
          const kept = (await gathered(pins.history('x'))).map(({ revision }) => revision).reverse();
          assert.deepEqual(
            kept,
            stays.map(({ revision }) => revision),
          );
          // Gapless up to the newest.
          assert.deepEqual(
            kept,
            kept.map((_, index) => model.length - kept.length + index + 1),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are added in order, whatever a clock says', async () => {
    const at = (number: number, now: number) =>
      database.write((sql) => addRevision(sql, pinOf('a', number), { origin: 'api', token: null }, now));
    await at(0, 2000);
    await at(1, 1000);
    assert.deepEqual(
      (await gathered(pins.history('a'))).map(({ createdAt }) => createdAt),
      [2000, 2000],
    );
  });

  it('drop thousands of revisions of a name in small steps', async () => {
    const rows = Array.from({ length: 1300 }, (_, index) => index + 1);
    await database.script([
      [`INSERT INTO pins (name, revision) VALUES ('a', 1300)`],
      [
        `INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, keep, keep_count, created_at, origin)
         SELECT 'a', value, '0', 'x', '[]', 'Revisions', 2, 0, 'api' FROM json_each(?)`,
        JSON.stringify(rows),
      ],
    ]);
    await pins.dropExpired();
    assert.deepEqual(await history('a'), ['1300:x', '1299:x']);
  });

  it('have no more names than may be, and always those of the manifest', async () => {
    await database.script([
      [
        'INSERT INTO pins (name, revision) SELECT value, 1 FROM json_each(?)',
        JSON.stringify(Array.from({ length: MOST_PINS - 1 }, (_, index) => `n${index}`)),
      ],
      [
        `INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, created_at, origin)
         SELECT name, 1, ?, 'p0', '[]', 0, 'api' FROM pins`,
        hashPartOf(0),
      ],
    ]);
    await pin('last', 0);
    const tooMany = { code: 'TooLarge', message: 'this cache has 10000 pins, which is the most: remove one first' };
    await assert.rejects(pin('more', 0), tooMany);
    await assert.rejects(history('more'), { code: 'NotFound' });
    await pin('last', 1);
    await pins.use([pinOf('more', 0)]);
    assert.equal((await gathered(pins.list())).length, MOST_PINS + 1);
    await pins.unpin('n0');
    await assert.rejects(pin('again', 0), tooMany);
    await pins.unpin('n1');
    await pin('again', 0);
  });

  it('have ten thousand revisions at most, and more only by a rule that keeps fewer', async () => {
    await database.script([
      [`INSERT INTO pins (name, revision) VALUES ('a', 10000)`],
      [
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
         INSERT INTO pin_revisions (name, revision, hash_part, path_name, artifacts, created_at, origin)
         SELECT 'a', i, '0', 'x', '[]', 0, 'api' FROM n`,
      ],
    ]);
    const keep = (contents: number) => ({ keep: { tag: 'Revisions', contents } as const });
    for (const rest of [{}, { keep: { tag: 'Forever' } as const }, keep(10_000)])
      await assert.rejects(pin('a', 0, rest), { code: 'TooLarge', message: /^the pin a has 10000 revisions/ });
    await pin('a', 0, keep(2));
    await pins.dropExpired();
    assert.deepEqual(await history('a'), ['10001:p0', '10000:x']);
    await pin('a', 1);
  });

  it('are read by pages that are small whatever they hold', async () => {
    const artifacts = Array.from({ length: 4 }, (_, index) => `${index}`.repeat(4000));
    for (let index = 0; index < 250; index++) await pin(`p${index}`, 0, { artifacts });
    let most = 0;
    for await (const page of pins.list()) most = Math.max(most, JSON.stringify(page).length);
    assert.ok(most < 3 * 2 ** 20, `${most} bytes`);
  });

  describe('of the manifest', () => {
    it('belong to it: tokens neither pin nor remove what is under their names', async () => {
      await pins.use([pinOf('a', 0)]);
      const owned = { code: 'Conflict', message: 'the pin a belongs to the manifest of this cache: change spec.pins' };
      await assert.rejects(pin('a', 1), owned);
      await assert.rejects(pin('a', 0), owned);
      await assert.rejects(pins.unpin('a'), owned);
      assert.deepEqual(await history('a'), ['1:p0']);
    });

    it('add a revision when they change, and none when the server starts again', async () => {
      await pins.use([pinOf('a', 0)]);
      await pins.use([pinOf('a', 0)]);
      await new Pins({ database, revive: async () => [], logger: pino({ level: 'silent' }) }).use([pinOf('a', 0)]);
      assert.deepEqual(await history('a'), ['1:p0']);
      await pins.use([pinOf('a', 1, { keep: { tag: 'Revisions', contents: 1 } })]);
      assert.deepEqual(await history('a'), ['2:p1', '1:p0']);
      await pins.dropExpired();
      assert.deepEqual(await history('a'), ['2:p1']);
    });

    it('may be absent, which is told, and are pinned before they are pushed', async () => {
      await pins.use([pinOf('a', 0), ...Array.from({ length: 7 }, (_, index) => pinOf(`x${index}`, 70 + index))]);
      const { names, missing, firstMissing } = await pins.report();
      assert.deepEqual([names, missing], [8, 7]);
      assert.deepEqual(
        firstMissing.map(({ name }) => name),
        ['x0', 'x1', 'x2', 'x3', 'x4'],
      );
      assert.equal(firstMissing[0]?.storePath, `/nix/store/${hashPartOf(70)}-p70`);
      assert.ok((await gathered(pins.pinnedHashParts())).includes(hashPartOf(70)));
      assert.deepEqual(
        (await gathered(pins.list())).map(({ isPresent }) => isPresent),
        [true, ...Array(7).fill(false)],
      );
      await publishRows(database, [70]);
      assert.equal((await pins.report()).missing, 6);
    });

    it('go with their name, and leave what tokens had pinned before', async () => {
      for (const number of [0, 1]) await pin('a', number);
      await pins.use([pinOf('a', 2), pinOf('b', 2)]);
      assert.deepEqual(await history('a'), ['3:p2', '2:p1', '1:p0']);
      await pins.use([]);
      assert.deepEqual(await history('a'), ['2:p1', '1:p0']);
      await assert.rejects(history('b'), { code: 'NotFound' });
      await pin('a', 3);
      assert.deepEqual(await history('a'), ['3:p3', '2:p1', '1:p0']);
    });

    it('end as the last manifest says, however many come at once', async () => {
      const manifests = Array.from({ length: 8 }, (_, index) => [pinOf('a', index % 4), pinOf(`n${index}`, 0)]);
      await Promise.all(manifests.map((it) => pins.use(it)));
      const now = await gathered(pins.list());
      assert.deepEqual(
        brief(now).map((it) => it.split(':')[1]),
        ['p3', 'p0'],
      );
      assert.deepEqual(
        now.map(({ name }) => name),
        ['a', 'n7'],
      );
    });
  });
});
