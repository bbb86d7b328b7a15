import assert from 'node:assert/strict';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { type BinaryCache, type Caches, Verifier } from '../../../../server/cache/index.ts';
import { objectsAfter } from '../../../../server/cache/objects/rows.ts';
import { lastUseOf, usesSince } from '../../../../server/cache/use/index.ts';
import { USES_QUERY, useStatement } from '../../../../server/cache/use/rows.ts';
import { isDue, Uses } from '../../../../server/cache/use/uses.ts';
import { type Database, SqliteDatabase } from '../../../../server/metadata/index.ts';
import { encodeNix32 } from '../../../../server/nix/index.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, standardSpec, until } from '../../../support/server.ts';
import { useRows } from '../../../support/uses.ts';

const MINUTE = 60_000;

describe('uses of paths', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());

  async function open(): Promise<void> {
    const settings = { housekeepingMs: 3600_000, useFlushMs: 3600_000 };
    caches = await openCaches({ data: folder, manifest: cacheManifest('main', standardSpec), verifier, settings });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
  }
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-uses-'));
    await open();
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function push(it: TestPath): Promise<TestPath> {
    await cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
    await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
    return it;
  }
  async function used(): Promise<string[]> {
    await cache.uses.flush();
    return [...(await useRows(cache.database)).keys()].sort();
  }
  /** As if it had been used then. */
  const setUse = ({ hashPart }: TestPath, at: number) =>
    cache.database.script([
      ['DELETE FROM uses WHERE hash_part = ?', hashPart],
      ['INSERT INTO uses (hash_part, used_at) VALUES (?, ?)', hashPart, at],
    ]);
  async function useOf({ hashPart }: TestPath): Promise<number> {
    return (await useRows(cache.database)).get(hashPart) ?? Number.NaN;
  }

  it('a first push is no use', async () => {
    await push(makePath());
    assert.deepEqual(await used(), []);
  });

  it('a path that is pushed again is used, found by its NAR or by its narinfo', async () => {
    const [nar, narinfo] = [await push(makePath()), await push(makePath())];
    const put = () => cache.nars.put(nar.narUrl.slice(4), Readable.from([nar.file]), nar.file.length);
    // Before its bytes are taken in, and after.
    for (let i = 0; i < 2; i++) {
      await put();
      assert.deepEqual(await used(), [nar.hashPart]);
      await cache.database.script([['DELETE FROM uses']]);
    }
    await put();
    await cache.nars.publishNarinfo(narinfo.hashPart, narinfo.narinfo);
    assert.deepEqual(await used(), [nar.hashPart, narinfo.hashPart].sort());
  });

  it('a push that brings a lost NAR back is a use', async () => {
    const it = await push(makePath());
    for await (const row of objectsAfter(cache.database, 0)) {
      await truncate(path.join(folder, 'main', 'storages', 'disk', 'objects', row.name), 3);
      assert.ok(await cache.lost.report(row));
    }
    await push(it);
    assert.deepEqual(await used(), [it.hashPart]);
  });

  it('a NAR that several paths have is a use of all of them', async () => {
    const contents = Buffer.from('shared');
    const [a, b] = [await push(makePath({ contents })), await push(makePath({ contents }))];
    await push(makePath());
    const object = await cache.objects.find(a.narUrl);
    assert.ok(object);
    cache.uses.touchNar(object.id);
    assert.deepEqual(await used(), [a.hashPart, b.hashPart].sort());
  });

  it('a query for missing paths uses those that are here', async () => {
    const it = await push(makePath());
    const { hashPart } = makePath();
    assert.deepEqual(await cache.paths.missing([hashPart, it.hashPart, it.hashPart]), [hashPart]);
    assert.deepEqual(await used(), [it.hashPart]);
  });

  it('is written at most once an hour, and never back in time', async () => {
    const it = await push(makePath());
    const touch = async () => {
      cache.uses.touch(it.hashPart);
      await cache.uses.flush();
    };
    const now = Date.now();
    for (const at of [now - 30 * MINUTE, now + 30 * MINUTE]) {
      await setUse(it, at);
      await touch();
      assert.equal(await useOf(it), at);
    }
    await setUse(it, now - 61 * MINUTE);
    await touch();
    assert.ok((await useOf(it)) >= now);
  });

  it('what two servers write at once ends with the later use', async () => {
    const it = await push(makePath());
    const write = (now: number) =>
      cache.database.script([useStatement(cache.database, { hashParts: [it.hashPart], objects: [], now })]);
    const now = Date.now();
    for (const at of [now, now - 10 * MINUTE, now - 100 * MINUTE, now + 100 * MINUTE]) await write(at);
    assert.equal(await useOf(it), now + 100 * MINUTE);
  });

  it('counts from publication, or from when uses were first written down', async () => {
    const { database } = cache;
    const it = await push(makePath());
    const last = () => lastUseOf(database, it.hashPart);
    const since = await usesSince(database);
    assert.ok(Math.abs(Date.now() - since) < 60 * MINUTE);
    await database.script([['UPDATE paths SET published_at = 5']]);
    assert.equal(await last(), since);
    await database.script([['UPDATE paths SET published_at = ?', since + 5]]);
    assert.equal(await last(), since + 5);
    await setUse(it, since + 4);
    assert.equal(await last(), since + 5);
    await setUse(it, since + 6);
    assert.equal(await last(), since + 6);
    assert.equal(await lastUseOf(database, makePath().hashPart), undefined);
  });

  it('what is noted is written when the cache closes, and time does not begin anew', async () => {
    const it = await push(makePath());
    const since = await usesSince(cache.database);
    cache.uses.touch(it.hashPart);
    await caches.close();
    await open();
    assert.deepEqual([...(await useRows(cache.database)).keys()], [it.hashPart]);
    assert.equal(await usesSince(cache.database), since);
  });

  it('rows of paths that are gone go, and nothing is written of paths that are not here', async () => {
    const [gone, kept] = [await push(makePath()), await push(makePath())];
    cache.uses.touchAll([gone.hashPart, kept.hashPart, makePath().hashPart, 'nonsense']);
    assert.deepEqual(await used(), [gone.hashPart, kept.hashPart].sort());
    await cache.database.script([['DELETE FROM paths WHERE hash_part = ?', gone.hashPart]]);
    await cache.uses.sweep();
    assert.deepEqual(await used(), [kept.hashPart]);
  });

  it('rows are looked at page by page, and again from the beginning', async () => {
    const rows = Array.from({ length: 4500 }, (_, index) => String(index).padStart(32, '0'));
    await cache.database.script(rows.map((row) => ['INSERT INTO uses (hash_part, used_at) VALUES (?, 1)', row]));
    for (const left of [2500, 500, 0]) {
      await cache.uses.sweep();
      assert.equal((await used()).length, left);
    }
    await cache.database.script([['INSERT INTO uses (hash_part, used_at) VALUES (?, 1)', rows[0] ?? '']]);
    await cache.uses.sweep();
    assert.deepEqual(await used(), []);
  });

  it('SQLite reads no table as a whole for it', async () => {
    const { database } = cache;
    const [text, ...values] = useStatement(database, { hashParts: ['x'], objects: [1], now: 1 });
    const page = await database.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${USES_QUERY}`, ['a']);
    const note = await database.query<{ detail: string }>(`EXPLAIN QUERY PLAN ${text}`, values);
    const steps = [...page, ...note].map((row) => row.detail);
    assert.deepEqual(
      steps.filter((step) => /^SCAN (?!json_each)/.test(step)),
      [],
    );
  });

  it('many notes are written without waiting for their time', async () => {
    const it = await push(makePath());
    cache.uses.touchAll([it.hashPart, ...hashParts(32_767)]);
    await until('the use is written', async () => (await useRows(cache.database)).has(it.hashPart));
    assert.equal(cache.uses.dropped, 0);
  });
});

describe('uses while the database takes nothing', () => {
  it('are kept, up to a bound, counted beyond it, told of once, and written later', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-uses-'));
    const sqlite = await SqliteDatabase.open({ file: path.join(folder, 'db.sqlite') });
    try {
      const hash = '0'.repeat(32);
      await sqlite.script([
        [
          `INSERT INTO objects (id, key, storage, name, size, state, created_at) VALUES (1, 'k', 's', 'n', 1, 'verified', 1)`,
        ],
        [
          `INSERT INTO paths (hash_part, name, object_id, refs, signatures, published_at) VALUES (?, 'n', 1, '', '', 1)`,
          hash,
        ],
      ]);
      let [isAway, attempts] = [true, 0];
      const database = new Proxy<Database>(sqlite, {
        get: (target, name) => {
          if (name === 'script' && isAway)
            return async () => {
              attempts++;
              throw new Error('database or disk is full');
            };
          const value = Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
      const lines: string[] = [];
      const logger = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
      const uses = new Uses({ database, settings: { useFlushMs: 3600_000 }, logger });
      uses.touch(hash);
      for (let i = 0; i < 3; i++) await assert.rejects(uses.flush(), /full/);
      for (const other of hashParts(70_000)) uses.touch(other);
      uses.touchNar(7);
      assert.equal(uses.dropped, 70_000 + 1 + 1 - 65_536);
      // It does not try at every note.
      assert.equal(attempts, 3);
      await assert.rejects(uses.flush(), /full/);
      assert.equal(lines.length, 1);
      isAway = false;
      await uses.flush();
      assert.deepEqual([...(await useRows(sqlite)).keys()], [hash]);
      isAway = true;
      uses.touch(hash);
      await uses.stop();
      assert.equal(lines.length, 2);
    } finally {
      await sqlite.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('a use of something in memory', () => {
  it('is noted once in ten minutes, also where the clock goes back', () => {
    const marked = {};
    const now = 1_700_000_000_000;
    assert.deepEqual(
      [0, 1, 9, 10, 11, 20, 5, 6, 20].map((minutes) => isDue(marked, now + minutes * MINUTE)),
      [true, false, false, true, false, true, true, false, true],
    );
  });
});

function hashParts(count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const bytes = Buffer.alloc(20, 1);
    bytes.writeUInt32BE(index);
    return encodeNix32(bytes);
  });
}
