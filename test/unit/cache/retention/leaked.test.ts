import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { type BinaryCache, CacheError, type Caches, Verifier } from '../../../../server/cache/index.ts';
import type { Deletion } from '../../../../server/cache/retention/deletion.ts';
import { makePath, type TestPath } from '../../../support/nars.ts';
import { openCaches } from '../../../support/open-caches.ts';
import { cacheManifest, until } from '../../../support/server.ts';

const NEVER = new AbortController().signal;

/** What is deleted because it leaked must be nowhere, whatever way its bytes have taken. */
describe('a secret that leaked', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-leaked-'));
    caches = await openCaches({
      data: folder,
      manifest: cacheManifest('main', 'storages:\n  - {name: disk, local: {}}\n'),
      verifier,
      settings: { housekeepingMs: 3600_000 },
    });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
    await until('all hash parts are known', () => cache.paths.loaded);
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  const put = (it: TestPath) => cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
  async function push(it: TestPath): Promise<void> {
    await put(it);
    await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
  }
  const remove = ({ hashPart }: Pick<TestPath, 'hashPart'>, more: Partial<Deletion> = {}) =>
    cache.deletePath(
      { ...{ hashPart, referrers: 'refuse', pins: 'refuse', block: undefined, now: false, actor: null }, ...more },
      NEVER,
    );
  const files = async () => {
    await cache.objects.idle();
    const all = await readdir(path.join(folder, 'main', 'storages', 'disk', 'objects'), { recursive: true });
    return all.filter((it) => it.includes('/')).length;
  };
  const isBlocked = (error: unknown) => error instanceof CacheError && error.code === 'Forbidden';
  /** The same NAR, or another one, as the same path. */
  const version = (seed: string, contents: string, otherwise = false) =>
    makePath({ name: 'secret', seed, contents: Buffer.from(contents), otherwise });

  it('goes in every form in which its NAR came, also where no narinfo followed', async () => {
    const [secret, again] = [version('a', 'key'), version('a', 'key', true)];
    assert.notEqual(secret.narUrl, again.narUrl);
    await push(secret);
    await put(again);
    assert.equal(await files(), 2);
    await remove(secret, { now: true });
    assert.equal(await cache.objects.find(again.narUrl), undefined);
    assert.equal(await files(), 0);
  });

  it('goes where it was published before its path got another NAR', async () => {
    const [secret, harmless] = [version('a', 'key'), version('a', 'none')];
    await push(secret);
    await remove(secret);
    await push(harmless);
    await remove(harmless, { now: true });
    assert.equal(await cache.objects.find(secret.narUrl), undefined);
    assert.equal(await files(), 0);
  });

  it('goes from where it was moved away a moment ago', async () => {
    const secret = version('a', 'key');
    await push(secret);
    const object = await cache.objects.find(secret.narUrl);
    assert.ok(object);
    const placement = await cache.storages.place(object.size);
    assert.ok(await cache.mover.move(object, placement, { signal: NEVER }));
    placement.release();
    assert.equal(await files(), 2);
    const { remaining } = await remove(secret, { now: true });
    assert.deepEqual(remaining, []);
    assert.equal(await files(), 0);
  });

  it('is named where a retired path still has its bytes', async () => {
    const secret = version('a', 'key');
    const twin = version('b', 'key');
    await push(secret);
    await push(twin);
    await remove(twin);
    const { sharing } = await remove(secret, { now: true });
    assert.deepEqual(sharing, [twin.storePath]);
    assert.equal(await files(), 1);
    await remove(twin, { now: true });
    assert.equal(await files(), 0);
  });

  it('is blocked with its NAR where it was retired before', async () => {
    const [secret, twin] = [version('a', 'key'), version('b', 'key')];
    await push(secret);
    await remove(secret);
    await cache.block({ hashPart: secret.hashPart, name: null, reason: 'a key' }, null);
    assert.equal((await cache.explain(secret.hashPart)).block?.nar_hash, secret.narHash);
    await assert.rejects(push(twin), isBlocked);
  });

  it('does not come back by a NAR that passed the look at what is blocked before', async () => {
    const secret = version('a', 'key');
    await push(secret);
    const { blocks } = cache;
    const mustTake = blocks.mustTake.bind(blocks);
    // Its bytes have arrived, and it is deleted between the look and the row.
    blocks.mustTake = async (...of) => {
      await mustTake(...of);
      await remove(secret, { now: true });
    };
    await assert.rejects(put(version('a', 'key', true)), isBlocked);
    assert.equal(await files(), 0);
  });

  it('leaves nothing that nobody removes, when its path comes back otherwise', async () => {
    const [old, now] = [version('a', 'one'), version('a', 'two')];
    const root = makePath({ name: 'root', references: [`${old.hashPart}-${old.name}`] });
    await push(old);
    await push(root);
    await remove(old, { referrers: 'delete' });
    await push(now);
    await cache.paths.revive([root.hashPart]);
    const left = await cache.database.query<{ key: string }>(
      `SELECT key FROM objects o WHERE state <> 'tombstoned' AND orphan_since IS NULL
         AND NOT EXISTS (SELECT 1 FROM paths p WHERE p.object_id = o.id)
         AND NOT EXISTS (SELECT 1 FROM retired r WHERE r.object_id = o.id)`,
    );
    assert.deepEqual(left, []);
  });
});
