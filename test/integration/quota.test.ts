import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { type BinaryCache, CacheError, type Caches, Verifier } from '../../server/cache/index.ts';
import { mustFitQuota } from '../../server/cache/storages/quota.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { openCaches } from '../support/open-caches.ts';
import { completeUpload, createUpload, type OpenUpload, type Refusal, sendParts } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

describe('the quota of a cache', () => {
  let folder: string;
  let caches: Caches;
  let cache: BinaryCache;
  const verifier = new Verifier();
  after(() => verifier.stop());
  beforeEach(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-quota-'));
    const storages =
      'storages:\n  - {name: a, local: {}}\n  - {name: b, local: {}}\nstrategy: RoundRobin\nquota: {maxSize: 10Ki}\n';
    caches = await openCaches({ data: folder, manifest: cacheManifest('main', storages), verifier });
    const main = caches.get('main');
    assert.ok(main);
    cache = main;
  });
  afterEach(async () => {
    await caches.close();
    await rm(folder, { recursive: true, force: true });
  });

  const put = (it: TestPath) => cache.nars.put(it.narUrl.slice(4), Readable.from([it.file]), it.file.length);
  const isFull = (error: unknown) => {
    assert.ok(error instanceof CacheError && error.code === 'NoSpace', String(error));
    assert.match(error.message, /^this cache may hold 10 KiB and has [\d.]+ (bytes|KiB): delete paths/);
    return true;
  };

  it('bounds all storages together, and says so before a body is read', async () => {
    const paths = Array.from({ length: 8 }, () => makePath());
    for (const it of paths) await put(it);
    const { usedBytes } = cache.storages.quota;
    assert.equal(
      usedBytes,
      paths.reduce((sum, it) => sum + it.file.length, 0),
    );
    const large = makePath({ contents: Buffer.alloc(4000, 'x'), compression: 'none' });
    let isRead = false;
    async function* body() {
      isRead = true;
      yield large.file;
    }
    await assert.rejects(cache.nars.put(large.narUrl.slice(4), Readable.from(body()), large.file.length), isFull);
    assert.ok(!isRead);
    assert.equal(cache.storages.quota.usedBytes, usedBytes);
  });

  it('is not passed by many that come at once', async () => {
    const { storages } = cache;
    const all = Array.from({ length: 15 }, () => [storages.place(1024), storages.hold('a', 1024)]).flat();
    const done = await Promise.allSettled(all);
    assert.equal(storages.quota.usedBytes, 10 * 1024);
    for (const it of done)
      if (it.status === 'fulfilled') it.value.release();
      else isFull(it.reason);
    assert.equal(storages.quota.usedBytes, 0);
  });

  it('is not passed by a body that does not say how long it is', async () => {
    const large = makePath({ contents: Buffer.alloc(1_000_000, 'x'), compression: 'none' });
    let sent = 0;
    async function* body() {
      for (; sent < large.file.length; sent += 4000) yield large.file.subarray(sent, sent + 4000);
    }
    await assert.rejects(cache.nars.put(large.narUrl.slice(4), Readable.from(body()), undefined), isFull);
    assert.ok(sent < large.file.length / 2, `${sent} bytes`);
    assert.equal(cache.storages.quota.usedBytes, 0);
    const small = makePath();
    await cache.nars.put(small.narUrl.slice(4), Readable.from([small.file]), undefined);
  });

  it('takes what adds no bytes: a NAR that is here, a narinfo for it', async () => {
    const paths = Array.from({ length: 8 }, () => makePath());
    for (const it of paths) await put(it);
    await assert.rejects(
      (async () => {
        for (;;) await put(makePath());
      })(),
      isFull,
    );
    for (const it of paths) {
      await put(it);
      await cache.nars.publishNarinfo(it.hashPart, it.narinfo);
    }
    assert.equal(cache.paths.count, 8);
  });

  it('is held to by uploads, whose parts are counted when they are complete', async () => {
    const server = await TestServer.start({
      manifest: cacheManifest('main', `quota: {maxSize: 10Ki}\n${standardSpec}`),
    });
    try {
      const paths = Array.from({ length: 12 }, () => makePath());
      const uploads: [TestPath, OpenUpload, string[]][] = [];
      for (const it of paths) {
        const upload = await createUpload(server);
        uploads.push([it, upload, await sendParts(upload, it)]);
      }
      const outcomes = await Promise.allSettled(
        uploads.map(([it, upload, etags]) => completeUpload(upload, it, etags)),
      );
      const refused = outcomes.filter((it) => it.status === 'rejected').map((it) => it.reason as Refusal);
      const taken = outcomes.length - refused.length;
      assert.ok(taken > 0 && taken * (paths[0]?.file.length ?? 0) <= 10 * 1024, String(taken));
      for (const { status, text } of refused) {
        assert.equal(status, 413);
        assert.match(text, /^this cache may hold 10 KiB and has/);
      }
      assert.ok(refused.length > 0);
    } finally {
      await server.remove();
    }
  });

  it('refuses an upload at its beginning where there is no room at all', () => {
    const use = { usedBytes: 10, quotaBytes: 10, softBytes: 8 };
    assert.throws(() => mustFitQuota(use, 0), /may hold 10 bytes and has 10 bytes/);
    mustFitQuota({ ...use, usedBytes: 9 }, 1);
    mustFitQuota({ ...use, quotaBytes: undefined }, 1e9);
  });
});
