// An object that somebody deleted from the bucket, or put another one in its place, behind the back of the servers.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rename, rm, truncate } from 'node:fs/promises';
import path from 'node:path';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, type Push, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { TestServer, until } from '../support/server.ts';
import { FAST } from '../support/storages.ts';

const BUCKET = 'narwhal';
const SIZES = [1000, 700_000, 9_000_000];

describeWith('versitygw', 'an object that is gone from a bucket', () => {
  let s3: S3Server;
  let server: TestServer;
  let prefix = '';

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
  });
  after(() => s3.remove());

  async function start(reads: 'Proxy' | 'Redirect'): Promise<void> {
    prefix = reads.toLowerCase();
    const storage = s3Storage('bucket', BUCKET, s3.endpoint, { prefix, reads, uploads: 'Proxy' });
    // A bucket that has answered a moment ago is not looked at by itself: the reads must notice.
    server = await TestServer.start({ manifest: s3Manifest(s3, [storage]), args: FAST });
  }
  const root = () => path.join(s3.folder, 'buckets', BUCKET, prefix);
  const status = async (it: TestPath, method = 'GET') => {
    const answer = await fetch(`${server.api()}/${it.narUrl}`, { method, redirect: 'manual' });
    await answer.arrayBuffer().catch(() => {});
    return answer.status;
  };
  const readyz = async () => (await fetch(`${server.adminUrl}/readyz?verbose`)).text();

  /** Pushes a path; the file that its object is. */
  async function pushed(bytes: number, push: Push): Promise<{ it: TestPath; file: string }> {
    const it = makePath({ contents: randomBytes(bytes) });
    const before = new Set(await s3.keys(BUCKET, `${prefix}/objects/`));
    await push(server, it);
    const [key] = (await s3.keys(BUCKET, `${prefix}/objects/`)).filter((name) => !before.has(name));
    assert.ok(key);
    return { it, file: path.join(s3.folder, 'buckets', BUCKET, key) };
  }

  async function heals(it: TestPath, push: Push): Promise<void> {
    const narinfo = await fetch(`${server.api()}/${it.hashPart}.narinfo`);
    assert.equal(narinfo.status, 404);
    assert.equal(await status(it, 'HEAD'), 404);
    assert.equal(await status(it), 404);
    assert.match(await readyz(), /^\[!\] cache main objects: 1 is lost \(storage bucket: 1\)/m);
    await push(server, it);
    assert.ok(await isServed(server, it));
    assert.match(await readyz(), /^\[\+\] cache main objects: none is lost$/m);
  }

  const faults: Readonly<Record<string, (file: string) => Promise<void>>> = {
    deleted: (file) => rm(file),
    shorter: (file) => truncate(file, 600),
  };
  const pushes: Readonly<Record<string, Push>> = { nix: pushByPut, cachix: pushByCachix };

  describe('whose reads pass through the server', () => {
    before(() => start('Proxy'));
    after(() => server.remove());
    for (const [how, push] of Object.entries(pushes)) {
      for (const [what, damage] of Object.entries(faults)) {
        it(`is lost once a read finds it ${what}, and a push by ${how} heals it`, async () => {
          for (const bytes of SIZES) {
            const { it, file } = await pushed(bytes, push);
            assert.ok(await isServed(server, it));
            await damage(file);
            assert.equal(await status(it), 404);
            await heals(it, push);
          }
        });
      }
    }
    itIsNotLost();
  });

  describe('to which clients are redirected', () => {
    before(() => start('Redirect'));
    after(() => server.remove());
    for (const [how, push] of Object.entries(pushes)) {
      for (const [what, damage] of Object.entries(faults)) {
        it(`is lost soon after a client was sent to what is ${what}, and a push by ${how} heals it`, async () => {
          const { it, file } = await pushed(5000, push);
          await damage(file);
          const answer = await fetch(`${server.api()}/${it.narUrl}`, { redirect: 'manual' });
          assert.equal(answer.status, 302);
          const found = await fetch(answer.headers.get('location') ?? '');
          assert.equal(found.status, what === 'deleted' ? 404 : 200);
          await found.arrayBuffer();
          await until('the server has looked too', async () => (await status(it)) === 404);
          await heals(it, push);
        });
      }
    }
    itIsNotLost();
  });

  function itIsNotLost(): void {
    it('is not lost where the bucket was emptied, marker and all, or is another one', async () => {
      const { it } = await pushed(5000, pushByPut);
      await rename(root(), `${root()}.away`);
      assert.equal(await status(it, 'HEAD'), 503);
      assert.equal(await status(it), 503);
      assert.match(await readyz(), /^\[!\] cache main storage bucket: .* has no marker/m);
      assert.match(await readyz(), /^\[\+\] cache main objects: none is lost$/m);
      await rename(`${root()}.away`, root());
      await until('it is served again', async () => (await status(it, 'HEAD')) === 200);
      assert.ok(await isServed(server, it));
    });

    it('is not lost where there is no bucket, whose HEAD answers the same 404', async () => {
      const { it } = await pushed(5000, pushByPut);
      const bucket = path.join(s3.folder, 'buckets', BUCKET);
      await rename(bucket, `${bucket}.away`);
      try {
        assert.equal(await status(it, 'HEAD'), 503);
        assert.equal(await status(it), 503);
      } finally {
        await rename(`${bucket}.away`, bucket);
      }
      await until('it is served again', async () => (await status(it, 'HEAD')) === 200);
      assert.ok(await isServed(server, it));
      assert.match(await readyz(), /^\[\+\] cache main objects: none is lost$/m);
    });
  }
});
