import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { type BinaryCache, CacheError, type Caches, Verifier } from '../../../../server/cache/index.ts';
import { defaultSettings, type RetentionSettings } from '../../../../server/cache/settings.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { refer } from '../../../support/paths.ts';
import { gathered } from '../../../support/pins.ts';
import { cacheManifest, until } from '../../../support/server.ts';

const DAY = 24 * 3600_000;
const NEVER = new AbortController().signal;

describe('retention of a cache', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());

  async function open(
    { rootsFirstMs = 10, ...retention }: Partial<RetentionSettings> & { rootsFirstMs?: number } = {},
    housekeepingMs = 3600_000,
  ): Promise<void> {
    caches = await openCaches({
      data: folder,
      manifest: cacheManifest('main', 'storages:\n  - {name: disk, local: {}}\n'),
      verifier,
      settings: {
        housekeepingMs,
        rootsFirstMs,
        retention: {
          ...defaultSettings.retention,
          ...{ unusedMs: 30 * DAY, minAgeMs: DAY, graceMs: 0, everyMs: 3600_000 },
          ...retention,
        },
      },
    });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
    await until('all hash parts are known', () => cache.paths.loaded);
  }
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-retention-'));
    await open();
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function push(...all: readonly TestPath[]): Promise<void> {
    for (const it of all) {
      await cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
      await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
    }
  }
  /** As if so many days had gone by since a path was published, and last used. */
  async function age(days: number, ...all: readonly TestPath[]): Promise<void> {
    const at = Date.now() - days * DAY;
    await cache.uses.flush();
    await cache.database.script([
      [`UPDATE meta SET value = '0' WHERE key = 'uses_since'`],
      ...all.flatMap((it) => [
        ['UPDATE paths SET published_at = ? WHERE hash_part = ?', at, it.hashPart] as const,
        ['DELETE FROM uses WHERE hash_part = ?', it.hashPart] as const,
      ]),
    ]);
  }
  const collect = (isConfirmed = true) => cache.retention.collect(isConfirmed, NEVER);
  const served = (...all: readonly TestPath[]) =>
    Promise.all(all.map(async (it) => (await cache.paths.find(it.hashPart)) !== undefined));
  const hasBytes = async (it: TestPath) => (await cache.objects.find(it.narUrl)) !== undefined;

  it('takes what nobody has used, with its closure, and leaves what something used needs', async () => {
    const [shared, lib] = [refer('shared'), refer('lib')];
    const old = refer('old', shared, lib);
    const young = refer('young', shared);
    await push(shared, lib, old, young);
    await age(40, shared, lib, old);
    const row = await collect();
    assert.equal(row?.state, 'done');
    assert.equal(row?.removed_paths, 2);
    assert.deepEqual(await served(shared, young, old, lib), [true, true, false, false]);
    assert.equal((await cache.closures.report()).paths, 0);
  });

  it('bytes of a retired path are served until its grace is over, then they go', async () => {
    await caches.close();
    await open({ graceMs: 3600_000 });
    const old = refer('old');
    await push(old);
    await age(40, old);
    await collect();
    assert.deepEqual(await served(old), [false]);
    assert.ok(await hasBytes(old));
    await caches.close();
    await open({}, 20);
    await until('its NAR is gone', async () => !(await hasBytes(old)));
    assert.deepEqual(await cache.database.query(`SELECT 1 FROM objects WHERE key IS NOT NULL`), []);
  });

  it('a retired path comes back with its closure where somebody who may push wants it', async () => {
    await caches.close();
    await open({ graceMs: 3600_000 });
    const lib = refer('lib');
    const old = refer('old', lib);
    await push(lib, old);
    await age(40, lib, old);
    await collect();
    assert.deepEqual(await cache.paths.missing([old.hashPart]), [old.hashPart]);
    assert.deepEqual((await cache.paths.revive([old.hashPart])).sort(), [old.hashPart, lib.hashPart].sort());
    assert.deepEqual(await served(old, lib), [true, true]);
    // Somebody has used them now.
    await age(40, lib, old);
    await cache.paths.revive([]);
    await collect();
    const again = refer('again', old);
    await push(again);
    assert.deepEqual(await served(again, old, lib), [true, true, true]);
    await age(40, lib, old, again);
    await collect();
    await push(lib);
    assert.deepEqual(await served(lib), [true]);
  });

  it('what a push needs while a collection is under way stays, and so does what is used', async () => {
    await caches.close();
    await open({ rootsFirstMs: 3600_000 });
    const [a, b, c] = [refer('a'), refer('b'), refer('c')];
    const middle = refer('middle', a);
    const root = refer('root', middle, b, c);
    await push(a, b, c, middle, root);
    await age(40, a, b, c, middle, root);
    const collecting = cache.retention.collect(true, NEVER).catch(() => undefined);
    await until('the root has gone', async () => !(await served(root))[0]);
    assert.deepEqual(await served(a, b, c, middle), [true, true, true, true]);
    const fresh = refer('fresh', middle);
    await push(fresh);
    cache.uses.touch(b.hashPart);
    await cache.uses.flush();
    // As a server that dies in between, and one that goes on.
    await caches.close();
    await collecting;
    await open();
    await until('the collection is over', async () => {
      cache.retention.wake();
      return (await cache.retention.report(1))[0]?.state === 'done';
    });
    assert.deepEqual(await served(fresh, middle, a, b, c, root), [true, true, true, true, false, false]);
    assert.equal((await cache.closures.report()).paths, 0);
  });

  it('one that would remove more than half waits until it is confirmed', async () => {
    const [a, b] = [refer('a'), refer('b')];
    await push(a, b);
    await age(40, a, b);
    const row = await collect(false);
    assert.equal(row?.state, 'held');
    assert.match(row?.text ?? '', /would remove \S+ of \S+B$/);
    assert.deepEqual(await served(a, b), [true, true]);
    assert.equal((await collect())?.state, 'done');
    assert.deepEqual(await served(a, b), [false, false]);
  });

  it('one after a jump of the clock waits too', async () => {
    const paths = [refer('a'), refer('b'), refer('c'), refer('d')];
    await push(...paths);
    await age(40, ...paths.slice(0, 1));
    await cache.database.script([
      [`INSERT INTO meta (key, value) VALUES ('clock_seen', ?)`, String(Date.now() - 3 * DAY)],
    ]);
    const row = await collect(false);
    assert.equal(row?.state, 'held');
    assert.match(row?.text ?? '', /^nothing was noted for 3\.0 days/);
    assert.equal((await collect())?.state, 'done');
    await age(40, ...paths.slice(1, 2));
    assert.equal((await collect(false))?.state, 'done');
  });

  it('says what it would do, and does not', async () => {
    const old = makePath({ name: 'old', contents: Buffer.alloc(3000, 'x'), compression: 'none' });
    const young = refer('young');
    await push(old, young);
    await age(40, old);
    const plan = await cache.retention.dryRun(NEVER);
    assert.equal(plan.paths, 2);
    const taken = await gathered(plan.list());
    assert.deepEqual(
      taken.map(({ basename, reason, size }) => [basename, reason, size]),
      [[`${old.hashPart}-old`, 'unused', old.file.length]],
    );
    assert.deepEqual([plan.removedPaths, plan.removedBytes], [1, old.file.length]);
    assert.match(plan.held ?? '', /^it would remove \S+B of \S+B$/);
    assert.deepEqual(await served(old, young), [true, true]);
    assert.deepEqual(await cache.retention.report(), []);
  });

  it('tells what it has taken, the largest first, while the grace lasts', async () => {
    await caches.close();
    await open({ graceMs: 3600_000 });
    const lib = makePath({ name: 'lib', contents: Buffer.alloc(100_000, 'x'), compression: 'none' });
    const [old, young] = [refer('old', lib), refer('young')];
    await push(lib, old, young);
    await age(40, lib, old);
    const run = await cache.retention.begin(true);
    await until('it is over', async () => (await cache.retention.find(run.run))?.endedAt != null);
    const { state, removedPaths, removedBytes, leftPaths } = (await cache.retention.find(run.run)) ?? {};
    assert.deepEqual([state, removedPaths, leftPaths], ['done', 2, 0]);
    assert.equal(removedBytes, lib.file.length + old.file.length);
    const taken = await gathered(cache.retention.retired(run.run));
    assert.deepEqual(
      taken.map(({ basename, size }) => [basename, size]),
      [lib, old].map((it) => [`${it.hashPart}-${it.name}`, it.file.length]),
    );
    assert.ok(Math.abs((taken[0]?.usedAt ?? 0) - (Date.now() - 40 * DAY)) < DAY);
    const { lastGC, retiredPaths } = await cache.retention.status();
    assert.deepEqual([lastGC?.run, lastGC?.state, retiredPaths], [run.run, 'done', 2]);
    assert.deepEqual(await gathered(cache.retention.retired(run.run + 1)), []);
  });

  it('takes no pinned path, unless pins are to count as any other', async () => {
    const lib = refer('lib');
    const [pinned, other] = [refer('pinned', lib), refer('other')];
    await push(lib, pinned, other);
    await age(40, lib, pinned, other);
    await cache.pins.pin(
      { name: 'a', path: { hashPart: pinned.hashPart, name: pinned.name }, artifacts: [], keep: null },
      null,
    );
    await collect();
    assert.deepEqual(await served(lib, pinned, other), [true, true, false]);
    await caches.close();
    await open({ keepPins: false });
    await collect();
    assert.deepEqual(await served(lib, pinned), [false, false]);
  });

  it('a pin of a retired path brings it back with its closure', async () => {
    await caches.close();
    await open({ graceMs: 3600_000 });
    const lib = refer('lib');
    const old = refer('old', lib);
    await push(lib, old);
    await age(40, lib, old);
    await collect();
    const pin = { name: 'a', path: { hashPart: old.hashPart, name: old.name }, artifacts: [], keep: null };
    await cache.pins.pin(pin, null);
    assert.deepEqual(await served(old, lib), [true, true]);
    await age(40, lib, old);
    await collect();
    assert.deepEqual(await served(old, lib), [true, true]);
  });

  it('a pin that comes while a collection is under way holds what is not gone yet', async () => {
    await caches.close();
    await open({ rootsFirstMs: 3600_000 });
    const [a, b] = [refer('a'), refer('b')];
    const roots = [refer('c', a), refer('d', b)];
    await push(a, b, ...roots);
    await age(40, a, b, ...roots);
    await cache.retention.begin(true);
    await until('it waits', async () => !(await served(...roots)).includes(true));
    await cache.pins.pin({ name: 'a', path: { hashPart: a.hashPart, name: 'a' }, artifacts: [], keep: null }, null);
    await caches.close();
    await open();
    await until('the collection is over', async () => {
      cache.retention.wake();
      return (await cache.retention.report(1))[0]?.state === 'done';
    });
    assert.deepEqual(await served(a, b), [true, false]);
    assert.equal((await cache.retention.report(1))[0]?.removed_paths, 3);
  });

  it('one that only marks says nothing of what the one before it found', async () => {
    const [a, b] = [refer('a'), refer('b')];
    await push(a, b);
    await age(40, a, b);
    await collect(false);
    await cache.database.script([
      [
        `INSERT INTO collections (run, begun_at, state, paths, bytes, removed_paths, removed_bytes)
        VALUES (99, 0, 'running', 0, 0, 0, 0)`,
      ],
    ]);
    assert.equal((await cache.retention.status()).lastGC?.state, 'held');
  });

  it('one at a time', async () => {
    await caches.close();
    await open({ rootsFirstMs: 3600_000 });
    const lib = refer('lib');
    const old = refer('old', lib);
    await push(lib, old);
    await age(40, lib, old);
    await cache.retention.begin(true);
    await until('it waits', async () => !(await served(old))[0]);
    for (const again of [() => collect(), () => cache.retention.begin(false)])
      await assert.rejects(again(), (error: unknown) => error instanceof CacheError && error.code === 'Conflict');
  });
});
