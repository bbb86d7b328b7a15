import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import {
  LocalStorage,
  ObjectMissingError,
  StorageUnavailableError,
  type StoredEntry,
} from '../../../server/storage/index.ts';

async function* pieces(...list: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* list;
}

import { folderAt, newName } from '../../../server/storage/names.ts';

describe('a local storage', () => {
  let folder: string;
  let root: string;
  const open: LocalStorage[] = [];
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-local-'));
    root = path.join(folder, 'disk');
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((storage) => storage.close()));
    await rm(folder, { recursive: true, force: true });
  });

  function make(init: { cacheId?: string; name?: string; reserveBytes?: number } = {}): LocalStorage {
    const storage = new LocalStorage({ name: 'disk', cacheId: 'cache-1', root, reserveBytes: 0, ...init });
    open.push(storage);
    return storage;
  }

  async function ready(): Promise<LocalStorage> {
    const storage = make();
    assert.deepEqual(await storage.open(false), { state: 'Ready' });
    return storage;
  }

  async function store(storage: LocalStorage, bytes: Uint8Array): Promise<string> {
    const staged = storage.stage('id');
    await staged.write(pieces(bytes));
    return staged.commit();
  }

  async function reasonOf(storage: LocalStorage, known: boolean): Promise<string> {
    const health = await storage.open(known);
    assert.equal(health.state, 'Unavailable');
    return health.state === 'Unavailable' ? health.reason : '';
  }

  describe('its marker', () => {
    it('is written into a new folder and says whose it is', async () => {
      await ready();
      const marker: unknown = JSON.parse(await readFile(path.join(root, '.narwhal'), 'utf8'));
      assert.deepEqual(marker, { cacheId: 'cache-1', storage: 'disk' });
    });

    it('lets the same cache in again', async () => {
      await ready();
      assert.deepEqual(await make().open(true), { state: 'Ready' });
    });

    it('keeps another cache out', async () => {
      await ready();
      assert.match(await reasonOf(make({ cacheId: 'cache-2' }), false), /belongs to another cache or storage/);
    });

    it('keeps another storage of the same cache out', async () => {
      await ready();
      assert.match(await reasonOf(make({ name: 'other' }), false), /belongs to another cache or storage/);
    });

    it('counts as foreign when it cannot be read as one', async () => {
      await mkdir(root);
      for (const text of ['', '{', 'null', '[]', '{"cacheId":1,"storage":"disk"}']) {
        await writeFile(path.join(root, '.narwhal'), text);
        const reason = await reasonOf(make(), true);
        assert.match(reason, /disk\/\.narwhal is no marker of a storage: damaged, or another program's; .*write this/);
        // What it says to write is what it takes.
        await writeFile(path.join(root, '.narwhal'), reason.slice(reason.indexOf('{')));
        assert.equal((await make().open(true)).state, 'Ready');
      }
    });

    it('is not made anew where rows exist: the disk is not mounted', async () => {
      await mkdir(root);
      assert.match(await reasonOf(make(), true), /has no marker: the disk is not mounted/);
      assert.deepEqual(await readdir(root), []);
    });

    it('is not written into a folder that holds something else', async () => {
      await mkdir(root);
      await writeFile(path.join(root, 'thesis.tex'), '');
      assert.match(await reasonOf(make(), false), /is new to this cache and not empty/);
      assert.deepEqual(await readdir(root), ['thesis.tex']);
    });

    it('is written beside the folder of a fresh ext4 disk, and after a crash that left its draft', async () => {
      await mkdir(path.join(root, 'lost+found'), { recursive: true });
      await writeFile(path.join(root, '.narwhal.new'), '{"cac');
      await ready();
    });
  });

  it('runs the settling before it is ready, and only then', async () => {
    await ready();
    const storage = make();
    let state: string | undefined;
    await storage.open(true, async () => {
      state = storage.health().state;
    });
    assert.equal(state, 'Unavailable');
    assert.equal(storage.health().state, 'Ready');
  });

  it('notices that its folder went away, and that it is back', async () => {
    const storage = await ready();
    const name = await store(storage, Buffer.from('bytes'));
    await rename(root, `${root}-gone`);
    assert.equal((await storage.probe()).state, 'Unavailable');
    await assert.rejects(storage.get(name, { start: 0, end: 4 }), StorageUnavailableError);
    await assert.rejects(storage.stage('x').write(pieces(Buffer.from('x'))), StorageUnavailableError);
    assert.deepEqual(await readdir(folder), ['disk-gone'], 'nothing is made where the disk was');
    await rename(`${root}-gone`, root);
    assert.equal((await storage.open(true)).state, 'Ready');
    assert.equal(String(await storage.get(name, { start: 0, end: 4 })), 'bytes');
  });

  it('commits again after its folder was away, without losing a byte', async () => {
    const storage = await ready();
    const staged = storage.stage('id');
    await staged.write(pieces(Buffer.from('bytes')));
    await rename(root, `${root}-gone`);
    await assert.rejects(staged.commit(), StorageUnavailableError);
    await rename(`${root}-gone`, root);
    const name = await staged.commit();
    assert.equal(await staged.commit(), name);
    assert.equal(String(await storage.get(name, { start: 0, end: 4 })), 'bytes');
  });

  it('makes folders anew that somebody has removed from it, where its marker is still there', async () => {
    const storage = await ready();
    const put = () => store(storage, randomBytes(20));
    for (const gone of [
      async () => path.join('objects', path.dirname(await put())),
      () => 'objects',
      () => '.staging',
    ]) {
      await put();
      await rm(path.join(root, await gone()), { recursive: true });
      // In a new hour it has a new folder at once.
      await put().catch((error: unknown) => assert.ok(error instanceof StorageUnavailableError, String(error)));
      assert.equal((await storage.probe()).state, 'Ready');
      assert.equal(await storage.stat(await put()), 20);
    }
  });

  describe('its objects', () => {
    const sizes = [1, 4096, 256 * 1024, 256 * 1024 + 1, 2 ** 20];
    for (const size of sizes) {
      it(`are read whole and by ranges: ${size} bytes`, async () => {
        const storage = await ready();
        const bytes = randomBytes(size);
        const name = await store(storage, bytes);
        const ranges = [
          [0, size - 1],
          [0, 0],
          [size - 1, size - 1],
          [size >> 1, size - 1],
          [size >> 2, size >> 1],
        ] as const;
        for (const [start, end] of ranges) {
          const body = await storage.get(name, { start, end });
          const read = Buffer.isBuffer(body) ? body : await buffer(body);
          assert.ok(read.equals(bytes.subarray(start, end + 1)), `${start}-${end}`);
        }
        assert.equal(await storage.stat(name), size);
      });
    }

    it('are missing when their file is gone or too short', async () => {
      const storage = await ready();
      const name = await store(storage, Buffer.from('bytes'));
      await assert.rejects(storage.get(name, { start: 0, end: 5 }), ObjectMissingError);
      await storage.delete(name);
      await assert.rejects(storage.get(name, { start: 0, end: 4 }), ObjectMissingError);
      assert.equal(await storage.stat(name), undefined);
    });

    it('may be deleted twice', async () => {
      const storage = await ready();
      const name = await store(storage, Buffer.from('bytes'));
      await storage.delete(name);
      await storage.delete(name);
    });

    it('are listed with their sizes, from a folder on', async () => {
      const storage = await ready();
      const objects = path.join(root, 'objects');
      for (const hour of ['2026010100', '2026010101', '2026010102']) {
        await mkdir(path.join(objects, hour));
        await writeFile(path.join(objects, hour, 'a'), hour);
      }
      const all = async (from?: string) => {
        const entries: StoredEntry[] = [];
        for await (const entry of storage.list(from)) entries.push(entry);
        return entries;
      };
      assert.deepEqual(
        (await all()).map((it) => it.name),
        ['2026010100/a', '2026010101/a', '2026010102/a'],
      );
      assert.deepEqual(
        (await all('2026010102')).map(({ name, size }) => ({ name, size })),
        [{ name: '2026010102/a', size: 10 }],
      );
      assert.deepEqual(await all('2027'), []);
    });

    it('have names that are never used twice, in folders by the hour', () => {
      assert.notEqual(newName(), newName());
      assert.equal(folderAt(new Date('2026-11-23T16:45:00Z')), '2026112316');
    });
  });

  describe('a staged file', () => {
    it('is written in pieces at an offset and cut to its size', async () => {
      const storage = await ready();
      const staged = storage.stage('id');
      await staged.write(pieces(Buffer.from('cd'), Buffer.from('ef')), { offset: 2 });
      await staged.write(pieces(Buffer.from('ab')));
      const name = await staged.commit(5);
      assert.equal(String(await storage.get(name, { start: 0, end: 4 })), 'abcde');
      assert.deepEqual(await storage.listStaged(), []);
    });

    it('refuses to write again what somebody was told of, and anything once its commit has begun', async () => {
      const storage = await ready();
      const staged = storage.stage('id');
      await staged.write(pieces(Buffer.from('ab')), { onWritten: () => {} });
      await assert.rejects(staged.write(pieces(Buffer.from('xy')), { offset: 1 }), /not written again/);
      await staged.write(pieces(Buffer.from('cdef')), { offset: 2 });
      await staged.write(pieces(Buffer.from('CD')), { offset: 2 });
      staged.keep(4);
      await assert.rejects(staged.write(pieces(Buffer.from('x')), { offset: 3 }), /not written again/);
      const name = await staged.commit();
      await assert.rejects(staged.write(pieces(Buffer.from('x')), { offset: 6 }), /not written again/);
      assert.equal(String(await storage.get(name, { start: 0, end: 5 })), 'abCDef');
    });

    it('has nothing on its way any more when a body that breaks off has failed', async () => {
      const storage = await ready();
      const staged = storage.stage('id');
      const bytes = Buffer.alloc(8_000_000, 'x');
      const breaking = async function* () {
        yield bytes;
        throw new Error('broken');
      };
      await assert.rejects(staged.write(breaking()), /broken/);
      assert.equal((await readFile(path.join(root, '.staging', 'id'))).length, bytes.length);
      await staged.discard();
    });

    it('keeps what an earlier process wrote', async () => {
      const storage = await ready();
      await writeFile(path.join(root, '.staging', 'id'), 'ab');
      const staged = storage.stage('id');
      await staged.write(pieces(Buffer.from('cd')), { offset: 2 });
      assert.equal(await readFile(path.join(root, '.staging', 'id'), 'utf8'), 'abcd');
      await staged.discard();
    });

    it('tells how far it has got, in order', async () => {
      const storage = await ready();
      const ends: number[] = [];
      const piece = randomBytes(300 * 1024);
      const staged = storage.stage('id');
      await staged.write(pieces(piece, piece, piece, piece, piece), { onWritten: (end) => ends.push(end) });
      await staged.discard();
      assert.deepEqual(
        ends,
        [...ends].sort((a, b) => a - b),
      );
      assert.equal(ends.at(-1), 5 * piece.length);
      assert.ok(ends.length > 1);
    });

    it('leaves nothing when it is discarded, twice too', async () => {
      const storage = await ready();
      const staged = storage.stage('id');
      await staged.write(pieces(Buffer.from('ab')));
      await staged.discard();
      await staged.discard();
      assert.deepEqual(await storage.listStaged(), []);
    });
  });

  it('keeps its reserve out of what it has free', async () => {
    const all = (await (await ready()).usage()).freeBytes ?? 0;
    const kept = make({ reserveBytes: 2 ** 60 });
    await kept.open(true);
    assert.ok(all > 0);
    assert.equal((await kept.usage()).freeBytes, 0);
    assert.ok((await stat(root)).isDirectory());
  });
});
