import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import { loadManifests } from '../../../../crds/index.ts';
import { type BinaryCache, Caches, Verifier } from '../../../../server/cache/index.ts';
import { BadObjectError, type Movable, movablesIn } from '../../../../server/cache/moving/mover.ts';
import { ByteBudget, type Storage } from '../../../../server/storage/index.ts';
import { cacheManifest } from '../../../support/server.ts';

describe('one object on its way to another storage', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  let object: Movable;
  const verifier = new Verifier();
  const { signal } = new AbortController();
  const text = cacheManifest('main', 'storages:\n  - {name: first, local: {}}\n  - {name: second, local: {}}\n');
  const { documents } = loadManifests([{ file: 'cache.yaml', text }], { target: 'server' });

  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-mover-'));
    caches = new Caches({
      data: folder,
      volumes: undefined,
      host: 'localhost',
      renameHost: false,
      verifier,
      logger: pino({ level: 'silent' }),
      metrics: { published() {}, committed() {}, moved() {}, collected() {}, s3Request() {} },
      budget: new ByteBudget(2 ** 20),
      settings: { moveGraceMs: 3600_000 },
      graceMs: 0,
      version: '0.0.0',
      inspecting: false,
    });
    await caches.apply(documents);
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
    await putLog('first text');
    const [only] = await all('first');
    assert.ok(only);
    object = only;
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });
  after(() => verifier.stop());

  const putLog = (content: string) =>
    cache.objects.put('log/x.drv', Readable.from([Buffer.from(content)]), {
      maxBytes: 1000,
      declaredBytes: content.length,
    });
  async function all(storage: string): Promise<Movable[]> {
    const found: Movable[] = [];
    for await (const one of movablesIn(cache.database, storage)) found.push(one);
    return found;
  }
  async function served(): Promise<string> {
    const row = await cache.objects.find('log/x.drv');
    assert.ok(row);
    return String(await cache.objects.read(row, { start: 0, end: row.size - 1 }));
  }
  const files = async (storage: string) =>
    (await readdir(path.join(folder, 'main', 'storages', storage, 'objects'), { recursive: true })).filter((it) =>
      it.includes('/'),
    );
  /** Moves to a storage that reads back as `get` does. */
  async function move(get?: (storage: Storage, ...args: Parameters<Storage['get']>) => Promise<Buffer | Readable>) {
    const placement = await cache.storages.hold('second', object.size);
    const real = placement.storage;
    const storage: Storage = Object.create(real, {
      stage: { value: real.stage.bind(real) },
      delete: { value: real.delete.bind(real) },
      get: { value: get === undefined ? real.get.bind(real) : get.bind(undefined, real) },
    });
    try {
      return await cache.mover.move(object, { ...placement, storage }, { signal });
    } finally {
      placement.release();
    }
  }

  it('is found by the row that a reader had before, and by the new one', async () => {
    const before = await cache.objects.find('log/x.drv');
    assert.equal(await move(), true);
    assert.deepEqual([(await files('first')).length, (await files('second')).length], [1, 1]);
    assert.equal(await served(), 'first text');
    assert.equal((await cache.objects.find('log/x.drv'))?.storage, 'second');
    assert.ok(before);
    await rm(path.join(folder, 'main', 'storages', 'first', 'objects'), { recursive: true });
    assert.equal(String(await cache.objects.read(before, { start: 0, end: 9 })), 'first text');
  });

  it('stays where it is while the target gives back other bytes', async () => {
    await assert.rejects(
      move(async () => Buffer.from('other text')),
      /storage second gives back other bytes of log\/x.drv than it was given/,
    );
    assert.equal(await served(), 'first text');
    assert.deepEqual([(await files('first')).length, (await files('second')).length], [1, 0]);
  });

  it('is left alone where it was replaced meanwhile, and its copy is removed', async () => {
    const isMoved = await move(async (storage, ...args) => {
      await putLog('a new text');
      return storage.get(...args);
    });
    assert.equal(isMoved, false);
    assert.equal(await served(), 'a new text');
    await cache.objects.idle();
    assert.deepEqual([(await files('first')).length, (await files('second')).length], [1, 0]);
  });

  it('is at fault itself where its bytes are gone or too few', async () => {
    const [file] = await files('first');
    const whole = path.join(folder, 'main', 'storages', 'first', 'objects', file ?? '');
    const bytes = await readFile(whole);
    await writeFile(whole, bytes.subarray(0, 5));
    await assert.rejects(
      move(),
      (error) => error instanceof BadObjectError && /has 5 bytes, its row says 10/.test(error.message),
    );
    await rm(whole);
    await assert.rejects(
      move(),
      (error) => error instanceof BadObjectError && /has a row but no bytes/.test(error.message),
    );
    assert.deepEqual(await files('second'), []);
  });
});
