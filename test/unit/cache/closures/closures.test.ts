import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { type BinaryCache, type Caches, Verifier } from '../../../../server/cache/index.ts';
import { objectsAfter } from '../../../../server/cache/objects/rows.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, until } from '../../../support/server.ts';

/** A path and the ones that it refers to, itself among them. */
function refer(name: string, to: readonly TestPath[] = []): TestPath {
  return makePath({ name, references: to.map((it) => `${it.hashPart}-${it.name}`) });
}

describe('closures', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());

  async function open(fields = ''): Promise<void> {
    const manifest = cacheManifest('main', `storages:\n  - {name: disk, local: {}}\n${fields}`);
    caches = await openCaches({ data: folder, manifest, verifier, settings: { housekeepingMs: 3600_000 } });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
  }
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-closures-'));
    await open();
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function push(it: TestPath): Promise<void> {
    await cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
    await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
  }
  async function rowOf(it: TestPath) {
    for await (const row of objectsAfter(cache.database, 0)) if (row.key === it.narUrl) return row;
    return undefined;
  }
  /** False where it is not there to be lost. */
  async function lose(it: TestPath): Promise<boolean> {
    const row = await rowOf(it);
    if (row?.state !== 'verified') return false;
    await truncate(path.join(folder, 'main', 'storages', 'disk', 'objects', row.name), 3);
    return cache.lost.report(row);
  }
  const tended = () => until('closures are tended', () => cache.closures.tend());
  const isServed = async (it: TestPath) => (await cache.paths.find(it.hashPart)) !== undefined;
  const isPublished = async (it: TestPath) =>
    (await cache.paths.find(it.hashPart, 'pusher')) !== undefined &&
    (await cache.paths.missing([it.hashPart])).length === 0;
  const served = async (...paths: TestPath[]) => Promise.all(paths.map(isServed));

  it('a path is given to readers once all that it refers to is here, and to pushers at once', async () => {
    const leaf = refer('leaf');
    const middle = refer('middle', [leaf]);
    const root = refer('root', [middle, leaf]);
    await push(root);
    assert.ok(await isPublished(root));
    assert.deepEqual(await served(root), [false]);
    assert.deepEqual(await cache.closures.waitsOf(root.hashPart), [leaf.hashPart, middle.hashPart].sort());
    await push(middle);
    assert.deepEqual(await served(root, middle), [false, false]);
    assert.equal((await cache.closures.report()).paths, 2);
    await push(leaf);
    assert.deepEqual(await served(root, middle, leaf), [true, true, true]);
    assert.deepEqual(await cache.closures.report(), { paths: 0, since: undefined });
  });

  it('who opens what another opens at that moment hears when all of it is open', async () => {
    const leaf = refer('leaf');
    const users = [refer('user', [leaf]), refer('other', [leaf])];
    const top = refer('top', users);
    for (const it of [top, ...users]) await push(it);
    await cache.nars.put(leaf.narUrl.slice(4), Readable.from([leaf.file]), leaf.file.length);
    const { closures } = cache;
    const open = closures.opened.bind(closures);
    // As the look at all waits may, once the leaf is published.
    let isOpen = false;
    closures.opened = async (hashParts) => {
      const first = open(hashParts).then(() => {
        isOpen = true;
      });
      await until('the waits for the leaf have ended', async () => {
        const text = 'SELECT 1 FROM waiting WHERE missing = ?';
        return (await cache.database.query(text, [leaf.hashPart])).length === 0;
      });
      await open(hashParts);
      assert.ok(isOpen);
      await first;
    };
    await cache.nars.publishNarinfo(leaf.hashPart, leaf.narinfo);
    assert.ok(isOpen && (await isServed(top)));
  });

  it('a path that refers to itself waits for nothing', async () => {
    const it = makePath({ name: 'self' });
    const self = { ...it, narinfo: it.narinfo.replace('References: ', `References: ${it.hashPart}-self`) };
    await push(self);
    assert.deepEqual(await served(self), [true]);
  });

  it('with closures: Warn readers get it all the same, and what it lacks is told', async () => {
    await caches.close();
    await open('closures: Warn');
    const root = refer('root', [refer('leaf')]);
    await push(root);
    assert.deepEqual(await served(root), [true]);
    assert.equal((await cache.closures.report()).paths, 1);
    await caches.close();
    await open();
    assert.deepEqual(await served(root), [false]);
  });

  it('when a path is lost all that need it wait, until it is pushed again', async () => {
    const leaf = refer('leaf');
    const middle = refer('middle', [leaf]);
    const root = refer('root', [middle]);
    const other = refer('other');
    for (const it of [leaf, middle, root, other]) await push(it);
    assert.deepEqual(await served(root, middle, leaf, other), [true, true, true, true]);
    assert.ok(await lose(leaf));
    await tended();
    assert.deepEqual(await served(root, middle, leaf, other), [false, false, false, true]);
    assert.ok(await isPublished(root));
    await push(leaf);
    assert.deepEqual(await served(root, middle, leaf, other), [true, true, true, true]);
  });

  it('a server that died before it opened what it could, or closed what it must, goes on with it', async () => {
    const leaf = refer('leaf');
    const root = refer('root', [leaf]);
    const top = refer('top', [root]);
    for (const it of [leaf, root, top]) await push(it);
    // As a server leaves it that dies right after the commit that lost the leaf.
    await cache.database.script([
      [`UPDATE objects SET state = 'lost', lost_since = 1, loss = 'missing' WHERE key = ?`, leaf.narUrl],
      ['INSERT INTO closing (hash_part, taken) VALUES (?, 5)', leaf.hashPart],
    ]);
    await caches.close();
    await open();
    await until('all that need it wait', async () => !(await isServed(top)));
    // And one that dies right after the commit that brought it back.
    await cache.database.script([[`UPDATE objects SET state = 'verified' WHERE key = ?`, leaf.narUrl]]);
    await caches.close();
    await open();
    await until('all are there again', async () => (await isServed(top)) && (await isServed(root)));
  });

  it('paths of an older version are served until they were looked at', async () => {
    const leaf = refer('leaf');
    const root = refer('root', [leaf]);
    const top = refer('top', [root]);
    const whole = refer('whole');
    for (const it of [root, top, whole]) await push(it);
    await cache.database.script([['DELETE FROM waiting'], ['UPDATE paths SET closure_checked = NULL']]);
    cache.paths.forgetAll();
    assert.deepEqual(await served(root, top, whole), [true, true, true]);
    await tended();
    assert.deepEqual(await served(root, top, whole), [false, false, true]);
    assert.deepEqual(await cache.database.query('SELECT 1 FROM paths WHERE closure_checked IS NULL'), []);
  });

  it('those of a path that is given up go with it', async () => {
    const leaf = refer('leaf');
    const root = refer('root', [leaf]);
    await push(root);
    assert.ok(await lose(root));
    const row = await rowOf(root);
    assert.ok(row !== undefined && (await cache.lost.giveUp(row)));
    assert.deepEqual(await cache.database.query('SELECT * FROM waiting'), []);
  });

  it('are what a small model says, after pushes in any order, losses, heals and restarts', async () => {
    const SIZE = 6;
    const references = fc.array(fc.nat(SIZE - 1), { maxLength: 3 });
    const graph = fc.array(references, { minLength: SIZE, maxLength: SIZE });
    const step = fc.tuple(fc.constantFrom('push', 'push', 'push', 'lose', 'restart', 'tend'), fc.nat(SIZE - 1));
    await fc.assert(
      fc.asyncProperty(graph, fc.array(step, { maxLength: 14 }), async (edges, steps) => {
        await caches.close();
        await rm(folder, { recursive: true, force: true });
        await open();
        // A path refers to earlier ones: there are no circles.
        const paths: TestPath[] = [];
        const to = edges.map((list, index) => [...new Set(list)].filter((it) => it < index));
        for (const [index, list] of to.entries())
          paths.push(
            refer(
              `p${index}`,
              list.map((it) => paths[it]).filter((it) => it !== undefined),
            ),
          );
        const here = new Set<number>();
        const isWhole = (index: number): boolean => here.has(index) && (to[index] ?? []).every(isWhole);
        for (const [act, index] of steps) {
          const it = paths[index];
          assert.ok(it);
          if (act === 'push') {
            await push(it);
            here.add(index);
          } else if (act === 'lose') {
            if (await lose(it)) here.delete(index);
          } else if (act === 'restart') {
            await caches.close();
            await open();
          }
          await tended();
          for (const [at, one] of paths.entries()) {
            assert.equal(await isServed(one), isWhole(at), `${one.name} after ${act} of p${index}`);
            assert.equal(await isPublished(one), here.has(at), `${one.name} published`);
          }
          const rows = await cache.database.query('SELECT missing, path FROM waiting');
          const expected = [...here].flatMap((at) => (to[at] ?? []).filter((ref) => !isWhole(ref)));
          const lost = paths.filter((_, at) => !here.has(at)).map((one) => one.hashPart);
          const counted = (rows as { path: string }[]).filter((row) => !lost.includes(row.path));
          assert.equal(counted.length, expected.length, 'rows of what waits');
        }
      }),
      { numRuns: 12 },
    );
  });

  it('opens thousands that wait for one path, and those that wait for them', async () => {
    const { database } = cache;
    const leaf = refer('leaf');
    const N = 3000;
    const hashOf = (index: number) => String(index).padStart(32, '0');
    await push(leaf);
    const object = (await rowOf(leaf))?.id ?? 0;
    await database.script([
      [`UPDATE objects SET state = 'lost' WHERE id = ?`, object],
      [
        `INSERT INTO objects (key, storage, name, size, state, created_at, nar_hash, nar_size, compression, file_hash)
         SELECT 'nar/x', storage, 'x', size, 'verified', 1, nar_hash, nar_size, compression, file_hash FROM objects WHERE id = ?`,
        object,
      ],
      [
        `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${N})
         INSERT INTO paths (hash_part, name, refs, signatures, published_at, closure_checked, object_id)
         SELECT printf('%032d', i), 'x', CASE WHEN i % 2 = 0 THEN printf('%032d-x', i - 1) ELSE ? END, '', 1, NULL,
           (SELECT id FROM objects WHERE key = 'nar/x') FROM n`,
        `${leaf.hashPart}-leaf`,
      ],
    ]);
    await caches.close();
    await open();
    await until('all hash parts are known', () => cache.paths.loaded);
    await tended();
    assert.equal((await cache.closures.report()).paths, N);
    assert.equal(await cache.paths.find(hashOf(2)), undefined);
    await push(leaf);
    assert.equal((await cache.closures.report()).paths, 0);
    assert.ok(await cache.paths.find(hashOf(2)));
  });
});
