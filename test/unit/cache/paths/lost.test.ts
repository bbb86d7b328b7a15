import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { pino } from 'pino';
import { loadManifests, parseDuration } from '../../../../crds/index.ts';
import { type BinaryCache, Caches, check, Verifier } from '../../../../server/cache/index.ts';
import { markLost } from '../../../../server/cache/objects/lost-rows.ts';
import { type ObjectRow, objectsAfter } from '../../../../server/cache/objects/rows.ts';
import { AllPaths } from '../../../../server/cache/paths/all-paths.ts';
import { wordsOfLost } from '../../../../server/cache/paths/lost.ts';
import { isDue } from '../../../../server/cache/upkeep/scrub.ts';
import { ByteBudget } from '../../../../server/storage/index.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { cacheManifest, until } from '../../../support/server.ts';

const DAY = 24 * 3600_000;

describe('a scrub', () => {
  it('is due when it never was, when it is under way, and again when its time is over', () => {
    assert.ok(isDue(undefined, DAY, 0));
    assert.ok(isDue({ begun_at: 0, ended_at: null }, DAY, 1));
    assert.ok(!isDue({ begun_at: 0, ended_at: 5 }, DAY, DAY - 1));
    assert.ok(isDue({ begun_at: 0, ended_at: 5 }, DAY, DAY));
  });

  it('is asked for in hours or days', () => {
    assert.equal(parseDuration('12h'), DAY / 2);
    assert.equal(parseDuration('30d'), 30 * DAY);
    const errors = (every: string) =>
      loadManifests(
        [
          {
            file: 'cache.yaml',
            text: cacheManifest('main', `storages: [{name: a, local: {}}]\nscrub: {every: ${every}}`),
          },
        ],
        { target: 'server' },
      ).errors.length;
    assert.equal(errors('7d'), 0);
    for (const wrong of ['0d', '1w', '10', '-1h', '1.5d']) assert.equal(errors(wrong), 1, wrong);
  });
});

describe('the line about lost objects', () => {
  it('says how many and where', () => {
    assert.equal(wordsOfLost(new Map()), 'none is lost');
    assert.match(wordsOfLost(new Map([['a', 1]])), /^1 is lost \(storage a: 1\); /);
    assert.match(wordsOfLost(new Map(Object.entries({ a: 1, b: 2 }))), /^3 are lost \(storage a: 1, storage b: 2\); /);
  });
});

describe('lost objects of a cache', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());

  async function open(scrub = ''): Promise<void> {
    const text = cacheManifest('main', `storages:\n  - {name: disk, local: {}}\n${scrub}`);
    const { documents, errors } = loadManifests([{ file: 'cache.yaml', text }], { target: 'server' });
    assert.deepEqual(errors, []);
    caches = new Caches({
      data: folder,
      volumes: undefined,
      host: 'localhost',
      renameHost: false,
      verifier,
      logger: pino({ level: 'silent' }),
      metrics: { published() {}, committed() {}, moved() {}, collected() {}, s3Request() {} },
      budget: new ByteBudget(2 ** 20),
      settings: { housekeepingMs: 20 },
      graceMs: 0,
      version: '0.0.0',
      inspecting: false,
    });
    await caches.apply(documents);
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
    await until('all hash parts are known', () => cache.paths.loaded);
  }
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-lost-'));
    await open();
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  const file = (name: string) => path.join(folder, 'main', 'storages', 'disk', 'objects', name);
  async function push(it: TestPath): Promise<void> {
    await cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
    await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
  }
  async function rows(): Promise<ObjectRow[]> {
    const found: ObjectRow[] = [];
    for await (const row of objectsAfter(cache.database, 0)) found.push(row);
    return found;
  }
  const isMissing = async (it: TestPath) => (await cache.paths.missing([it.hashPart])).length === 1;

  it('are what memory says they are, after any interleaving of losses, looks, heals and repairs', async () => {
    const paths = Array.from({ length: 2 }, () => makePath());
    for (const it of paths) await push(it);
    const rowOf = async (it: TestPath) => (await rows()).find(({ key }) => key === it.narUrl);
    const acts: Readonly<Record<string, (it: TestPath) => Promise<unknown>>> = {
      lose: async (it) => {
        const row = await rowOf(it);
        if (row !== undefined) await truncate(file(row.name), 3);
        if (row !== undefined) await cache.lost.report(row);
      },
      read: async (it) => {
        const object = await cache.objects.find(it.narUrl);
        if (object !== undefined) await cache.objects.read(object, { start: 0, end: object.size - 1 });
      },
      look: async (it) => {
        const row = await rowOf(it);
        if (row !== undefined) await cache.lost.report(row, true);
      },
      restore: async (it) => {
        const row = await rowOf(it);
        if (row === undefined) return;
        await writeFile(file(row.name), it.file);
        if (row.state === 'lost') await cache.lost.restore(row);
      },
      giveUp: async (it) => {
        const row = await rowOf(it);
        if (row?.state === 'lost') await cache.lost.giveUp(row);
      },
      push,
    };
    const step = fc.tuple(fc.constantFrom(...Object.keys(acts)), fc.nat(paths.length - 1), fc.nat(6));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 4 }), async (rounds) => {
        await Promise.all(
          rounds.map(async (steps) => {
            for (const [act, index, turns] of steps) {
              for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
              const it = paths[index];
              // What cannot be done now is no fault; what is left behind must agree all the same.
              if (it !== undefined) await acts[act]?.(it).catch(() => {});
            }
          }),
        );
        for (const it of paths) {
          const served = await cache.database.query(
            `SELECT 1 FROM paths p JOIN objects o ON o.id = p.object_id WHERE p.hash_part = ? AND o.state = 'verified'`,
            [it.hashPart],
          );
          assert.equal(await isMissing(it), served.length === 0);
          assert.equal((await cache.paths.find(it.hashPart)) === undefined, served.length === 0);
          await push(it).catch(() => {});
        }
      }),
      { numRuns: 60 },
    );
    for (const it of paths) {
      await push(it);
      assert.equal(await isMissing(it), false);
      const object = await cache.objects.find(it.narUrl);
      assert.ok(object);
      assert.ok(await cache.objects.isWhole(object));
    }
  });

  it('are left out of the set of hash parts, whatever changes while it is loaded', async () => {
    const [lost, healed, removed, there] = [makePath(), makePath(), makePath(), makePath()];
    for (const it of [lost, healed, removed, there]) await push(it);
    for (const row of await rows())
      if (row.key === lost.narUrl || row.key === healed.narUrl)
        await cache.database.write((sql) => markLost(sql, row, 'missing'));
    const all = new AllPaths(cache.database);
    const loading = all.load(new AbortController().signal);
    all.add(healed.hashPart);
    all.remove(removed.hashPart);
    await loading;
    assert.deepEqual(
      [lost, healed, removed, there].map((it) => all.lacks(it.hashPart)),
      [true, false, true, false],
    );
    assert.equal(all.size, 2);
  });

  it('are found by a scrub that goes on where the last one was', async () => {
    const paths = Array.from({ length: 4 }, () => makePath());
    for (const it of paths) await push(it);
    const [first, , third, last] = await rows();
    assert.ok(first && third && last);
    const name = last.name;
    await rm(file(first.name));
    await rm(file(third.name));
    const bytes = await readFile(file(name));
    bytes[7] = (bytes[7] ?? 0) ^ 1;
    await writeFile(file(name), bytes);
    await cache.database.script([
      [
        `INSERT INTO scrubs (depth, begun_at, ended_at, position, objects, bytes, lost) VALUES ('sizes', ?, ?, 0, 0, 0, 0)`,
        ...[Date.now(), Date.now()],
      ],
      [
        `INSERT INTO scrubs (depth, begun_at, ended_at, position, objects, bytes, lost) VALUES ('contents', ?, NULL, ?, 5, 6, 1)`,
        ...[Date.now(), first.id],
      ],
    ]);
    await caches.close();
    await open('scrub: {every: 30d, rate: 0}\n');
    await until('the look at contents has ended', async () =>
      (await cache.scrub.report()).every(({ endedAt }) => endedAt !== null),
    );
    const states = (await rows()).map(({ state }) => state);
    assert.deepEqual(states, ['verified', 'verified', 'lost', 'lost']);
    const contents = (await cache.scrub.report()).find(({ depth }) => depth === 'contents');
    assert.deepEqual([contents?.objects, contents?.lost], [8, 3]);
    assert.equal(
      (await readdir(path.dirname(file(name)))).length,
      2,
      'bytes that are wrong stay until somebody decides',
    );
  });

  it('are found by scrub and check beside one that the disk cannot give, which is no loss', async () => {
    for (const it of [makePath(), makePath()]) await push(it);
    const [first, second] = await rows();
    assert.ok(first && second);
    await caches.close();
    await open('scrub: {every: 30d, rate: 0}\n');
    const end = () =>
      until('the looks have ended', async () => {
        const looks = await cache.scrub.report();
        return looks.length === 2 && looks.every(({ endedAt }) => endedAt !== null);
      });
    await end();
    await rm(file(first.name));
    // Links in a circle stand for what a damaged file system answers.
    await symlink(path.basename(first.name), file(first.name));
    await rm(file(second.name));
    await cache.database.script([['UPDATE scrubs SET ended_at = NULL, position = 0']]);
    await end();
    assert.deepEqual(
      (await rows()).map(({ state }) => state),
      ['verified', 'lost'],
    );
    const { findings } = await check({
      ...{ cache, contents: false, repair: false, isAlone: false, bytesPerSecond: undefined },
      signal: new AbortController().signal,
    });
    assert.ok(findings.some(({ kind }) => kind === 'interrupted'));
  });

  it('are not given up while their disk is away: what was put back there may be found on it', async () => {
    await push(makePath());
    const [first] = await rows();
    assert.ok(first);
    await rm(file(first.name));
    assert.equal(await cache.lost.report(first), true);
    const disk = path.join(folder, 'main', 'storages', 'disk');
    await rename(disk, `${disk}.away`);
    await mkdir(path.join(disk, 'objects'), { recursive: true });
    const init = { cache, contents: false, repair: true, isAlone: false, bytesPerSecond: undefined };
    const { findings } = await check({ ...init, signal: new AbortController().signal });
    assert.deepEqual(
      findings.map(({ kind }) => kind),
      ['interrupted'],
    );
    assert.equal((await rows())[0]?.state, 'lost');
  });
});
