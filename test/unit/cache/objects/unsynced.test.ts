/** A NAR is answered before the disk has it, and no path points at it before. */
import assert from 'node:assert/strict';
import {
  type FileHandle,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type BinaryCache, type Caches, Verifier } from '../../../../server/cache/index.ts';
import { LocalStorage } from '../../../../server/storage/index.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, until } from '../../../support/server.ts';

async function* body(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Stands before every fsync of Node's: counts them, and holds them up or has them fail. */
class Disk {
  /** Inodes, in their order. */
  readonly synced: number[] = [];
  gate: Promise<void> = Promise.resolve();
  release: () => void = () => {};
  /** What the next sync fails with, and no other. */
  once: Error | undefined;
  readonly #prototype: FileHandle;
  readonly #sync: FileHandle['sync'];

  static async stand(): Promise<Disk> {
    const handle = await open('/dev/null');
    await handle.close();
    return new Disk(Object.getPrototypeOf(handle));
  }

  private constructor(prototype: FileHandle) {
    this.#prototype = prototype;
    this.#sync = prototype.sync;
    const [disk, sync] = [this, this.#sync];
    prototype.sync = async function () {
      await disk.gate;
      const { once } = disk;
      disk.once = undefined;
      if (once !== undefined) throw once;
      const { ino } = await this.stat();
      await sync.call(this);
      disk.synced.push(ino);
    };
  }

  /** Holds all syncs up until the function is called, or the test is over. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gate = promise;
    this.release = resolve;
    return resolve;
  }

  fail(code: string): void {
    this.gate = Promise.reject(Object.assign(new Error(`${code}: for a test`), { code }));
    this.gate.catch(() => {});
  }

  leave(): void {
    this.#prototype.sync = this.#sync;
  }
}

describe('a NAR without a path', () => {
  let folder: string;
  let disk: Disk;
  let caches: Caches;
  const verifier = new Verifier({ threads: 1 });
  const files = () => path.join(folder, 'disk', 'objects');
  before(async () => {
    disk = await Disk.stand();
  });
  after(async () => {
    disk.leave();
    await verifier.stop();
  });
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-unsynced-'));
    await start();
    // Its folder is there, and synced.
    await publish(await put(makePath()));
    disk.synced.length = 0;
  });
  afterEach(async () => {
    disk.gate = Promise.resolve();
    disk.release();
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function start(transientRetryMs = 0): Promise<void> {
    const manifest = cacheManifest(
      'main',
      `storages:\n  - {name: disk, local: {path: ${folder}/disk}}\ntokens:\n  - {name: push, permissions: [Write]}\n`,
    );
    const settings = { transientRetryMs, fullRetryMs: 0, storageRetryMs: 20 };
    caches = await openCaches({ data: path.join(folder, 'data'), manifest, verifier, settings });
  }

  function main(): BinaryCache {
    const cache = caches.get('main');
    assert.ok(cache);
    return cache;
  }

  async function put(it: TestPath): Promise<TestPath> {
    await main().nars.put(it.narUrl.slice('nar/'.length), body(it.file), it.file.length);
    return it;
  }

  function publish(it: TestPath): Promise<readonly string[]> {
    return main().nars.publishNarinfo(it.hashPart, it.narinfo);
  }

  async function fileOf(it: TestPath): Promise<string> {
    const object = await main().objects.find(it.narUrl);
    assert.ok(object);
    return path.join(files(), object.name);
  }

  /** Of its file and of the folder that knows its name. */
  async function inodesOf(it: TestPath): Promise<number[]> {
    const file = await fileOf(it);
    return Promise.all([file, path.dirname(file)].map(async (place) => (await stat(place)).ino));
  }

  async function assertSynced(it: TestPath): Promise<void> {
    const missing = (await inodesOf(it)).filter((inode) => !disk.synced.includes(inode));
    assert.deepEqual(missing, []);
  }

  async function assertServed(it: TestPath): Promise<void> {
    assert.ok(await main().paths.find(it.hashPart));
    assert.deepEqual(await readFile(await fileOf(it)), it.file);
  }

  async function assertAbsent(it: TestPath): Promise<void> {
    assert.equal(await main().objects.find(it.narUrl), undefined);
    assert.equal(await main().paths.find(it.hashPart), undefined);
    await assert.rejects(publish(it), { code: 'Invalid', message: /is not here; send the NAR/ });
  }

  it('is acknowledged before it is synced, and published after file and folder are', async () => {
    const release = disk.hold();
    const it = await put(makePath());
    assert.deepEqual(disk.synced, []);
    let isPublished = false;
    const publishing = publish(it).then(() => {
      isPublished = true;
    });
    // Whatever would publish it without the disk has had its turns when another one is through.
    await put(makePath());
    assert.equal(isPublished, false);
    assert.equal(await main().paths.find(it.hashPart), undefined);
    release();
    await publishing;
    await assertSynced(it);
    await assertServed(it);
  });

  it('is waited for by all of its paths', async () => {
    const release = disk.hold();
    const it = await put(makePath());
    const again = { ...it, hashPart: it.hashPart.replace(/^./, (letter) => (letter === '0' ? '1' : '0')) };
    again.narinfo = it.narinfo.replaceAll(it.hashPart, again.hashPart);
    let published = 0;
    const publishing = [it, again].map((one) => publish(one).then(() => published++));
    await put(makePath());
    assert.equal(published, 0);
    release();
    await Promise.all(publishing);
    await assertServed(it);
    await assertServed(again);
  });

  for (const code of ['EIO', 'ENOSPC'])
    it(`is taken back where its sync fails with ${code}, and is there when it is pushed again`, async () => {
      disk.fail(code);
      const it = await put(makePath());
      await assert.rejects(publish(it));
      await until('it is taken back', async () => (await main().objects.find(it.narUrl)) === undefined);
      await assertAbsent(it);
      disk.gate = Promise.resolve();
      await publish(await put(it));
      await assertServed(it);
    });

  it('that cannot be taken back either is so at the next try, and can be pushed again', async () => {
    const { database } = main();
    await database.write((sql) =>
      sql.query(`CREATE TRIGGER full BEFORE UPDATE OF state ON objects WHEN NEW.state = 'tombstoned'
        BEGIN SELECT RAISE(ABORT, 'no room'); END`),
    );
    disk.once = Object.assign(new Error('EIO'), { code: 'EIO' });
    const it = await put(makePath());
    await assert.rejects(publish(it), /no room/);
    await assert.rejects(publish(it), /no room/);
    assert.equal(await main().paths.find(it.hashPart), undefined);
    await database.write((sql) => sql.query('DROP TRIGGER full'));
    await assert.rejects(publish(it), /EIO/);
    await assertAbsent(it);
    await publish(await put(it));
    await assertServed(it);
  });

  it('is not taken to be on disk because a second sync is fine after one that failed', async () => {
    await caches.close();
    await start(60_000);
    await publish(await put(makePath()));
    disk.once = Object.assign(new Error('EIO: for a test'), { code: 'EIO' });
    const it = await put(makePath());
    await assert.rejects(publish(it), { message: /could not be synced \(EIO\)/ });
    await assertAbsent(it);
    await publish(await put(it));
    await assertServed(it);
  });

  it('keeps its client waiting where many are on their way to the disk', async () => {
    const release = disk.hold();
    for (let sent = 0; sent < 16; sent++) await put(makePath());
    let isAnswered = false;
    const one = put(makePath()).then(() => {
      isAnswered = true;
    });
    const other = put(makePath());
    await until('both have their rows', async () => {
      const rows = await main().database.query('SELECT 1 FROM objects WHERE orphan_since IS NOT NULL');
      return rows.length === 18;
    });
    assert.equal(isAnswered, false);
    release();
    await Promise.all([one, other]);
  });

  it('is no more a file either that was to be committed and could not be synced, however often it is tried', async () => {
    const storage = main().storages.find('disk');
    assert.ok(storage instanceof LocalStorage);
    const listed = async () => (await readdir(files(), { recursive: true })).length;
    const before = await listed();
    for (const code of ['EIO', 'ENOSPC']) {
      const staged = storage.stage(code);
      await staged.write(body(Buffer.from('bytes')));
      disk.once = Object.assign(new Error(code), { code });
      await assert.rejects(staged.commit());
      await assert.rejects(staged.commit(), { name: code === 'EIO' ? 'SyncFailedError' : 'StorageFullError' });
      await staged.discard();
      assert.equal(await listed(), before);
    }
  });

  it('finds no folder that could not be synced', async () => {
    const objects = path.join(folder, 'other', 'objects');
    const storage = new LocalStorage({ name: 'other', root: path.dirname(objects), cacheId: 'it', reserveBytes: 0 });
    assert.deepEqual(await storage.open(false), { state: 'Ready' });
    const staged = storage.stage('it');
    await staged.write(body(Buffer.from('bytes')));
    disk.once = Object.assign(new Error('EIO'), { code: 'EIO' });
    await assert.rejects(staged.commit(), { name: 'StorageUnavailableError' });
    assert.deepEqual(await readdir(objects), []);
    const name = await staged.commit();
    assert.deepEqual(await readFile(path.join(objects, name), 'utf8'), 'bytes');
    await storage.close();
  });

  it('is on disk after a stop', async () => {
    const release = disk.hold();
    const it = await put(makePath());
    const closing = caches.close();
    release();
    await closing;
    const synced = new Set(disk.synced);
    await start();
    for (const inode of await inodesOf(it)) assert.ok(synced.has(inode));
    await publish(it);
    await assertServed(it);
  });

  const losses: Readonly<Record<string, (file: string, size: number) => Promise<void>>> = {
    'is gone': (file) => rm(file),
    'is empty': (file) => truncate(file),
    'was cut short': (file, size) => truncate(file, size >> 1),
    'has its size and no bytes': (file, size) => writeFile(file, Buffer.alloc(size)),
  };
  for (const [what, lose] of Object.entries(losses))
    it(`is absent after a loss of power that left its row, where its file ${what}`, async () => {
      const [it, whole] = [await put(makePath()), await put(makePath())];
      const file = await fileOf(it);
      await caches.close();
      await lose(file, it.file.length);
      await start();
      await assertAbsent(it);
      await publish(whole);
      await assertServed(whole);
      await publish(await put(it));
      await assertServed(it);
    });

  it('is synced again by a process that does not know whether it was', async () => {
    const it = await put(makePath());
    await caches.close();
    disk.synced.length = 0;
    await start();
    await assertSynced(it);
  });

  it('gets no path while its storage was not there since the start', async () => {
    const it = await put(makePath());
    await caches.close();
    await rename(path.join(folder, 'disk'), path.join(folder, 'away'));
    await start();
    await assert.rejects(publish(it), { name: 'StorageUnavailableError' });
    await rename(path.join(folder, 'away'), path.join(folder, 'disk'));
    await until('it is back', async () => {
      const storage = main().storages.find('disk');
      return storage?.health().state === 'Ready';
    });
    await publish(it);
    await assertServed(it);
  });
});
