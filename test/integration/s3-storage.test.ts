import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import path from 'node:path';
import { SqliteDatabase } from '../../server/metadata/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import {
  completeUpload,
  createUpload,
  isServed,
  type Push,
  partUrl,
  pushByCachix,
  pushByPut,
  Refusal,
  sendPart,
  sendParts,
} from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy, s3Error, s3InTurn } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';

const MIB = 2 ** 20;
const BUCKET = 'narwhal';
const FAST = ['--storage-retry', '0.1', '--housekeeping-interval', '0.2', '--transient-retry', '3'];

describeWith('versitygw', 'a storage in S3', () => {
  let s3: S3Server;
  let proxy: S3Proxy;
  let server: TestServer;
  let prefixes = 0;

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
  });
  after(() => s3.remove());

  beforeEach(async () => {
    proxy = await S3Proxy.start(s3.endpoint);
  });
  afterEach(async () => {
    await server?.remove();
    await proxy.close();
  });

  let prefix = '';
  async function start(
    more: Readonly<Record<string, unknown>> = {},
    args: readonly string[] = [],
  ): Promise<TestServer> {
    prefix = `p${prefixes++}`;
    server = await TestServer.start({
      manifest: s3Manifest(s3, [s3Storage('bucket', BUCKET, proxy.endpoint, { prefix, ...more })]),
      args: [...FAST, ...args],
    });
    proxy.reset();
    return server;
  }
  const objects = () => s3.keys(BUCKET, `${prefix}/objects/`);
  const staging = () => s3.keys(BUCKET, `${prefix}/staging/`);
  const nothingLeft = (count: number) =>
    until(`${count} objects and nothing else are left`, async () => {
      const [kept, sides, uploads] = [await objects(), await staging(), await s3.uploads(BUCKET, `${prefix}/`)];
      return kept.length === count && sides.length === 0 && uploads.length === 0;
    });

  const protocols: [string, Push, Readonly<Record<string, unknown>>][] = [
    ['nix', pushByPut, {}],
    ['cachix, straight to S3', pushByCachix, { uploads: 'Direct' }],
    ['cachix, through the server', pushByCachix, { uploads: 'Proxy' }],
  ];
  for (const [name, push, more] of protocols) {
    for (const reads of ['Redirect', 'Proxy']) {
      it(`is pushed to by ${name}, and pulled from by ${reads}`, async () => {
        await start({ ...more, reads });
        const paths = [
          makePath(),
          makePath({ contents: randomBytes(6 * MIB) }),
          makePath({ contents: randomBytes(20 * MIB) }),
        ];
        for (const it of paths) await push(server, it, { parts: it.file.length > 12 * MIB ? 3 : 1 });
        for (const it of paths) assert.ok(await isServed(server, it));
        await nothingLeft(3);
        await server.stop();
        await server.restart();
        for (const it of paths) assert.ok(await isServed(server, it));
      });
    }
  }

  it('redirects a NAR to the public endpoint, for GET alone, and proxies ranges', async () => {
    await start({ publicEndpoint: 'http://s3.example.org:1234' });
    const it = makePath();
    await pushByPut(server, it);
    const url = `${server.url}/${it.narUrl}`;
    const answer = await fetch(url, { redirect: 'manual' });
    assert.equal(answer.status, 302);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    const location = new URL(answer.headers.get('location') ?? '');
    assert.equal(location.host, 's3.example.org:1234');
    assert.match(location.search, /X-Amz-Expires=3600/);
    assert.equal((await fetch(url, { method: 'HEAD', redirect: 'manual' })).status, 200);
    await server.writeManifest(
      s3Manifest(s3, [s3Storage('bucket', BUCKET, proxy.endpoint, { prefix, reads: 'Proxy' })]),
    );
    await until('the change is applied', () => server.output.includes('the changed manifests are applied'));
    const part = await fetch(url, { headers: { range: 'bytes=10-19' } });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get('content-range'), `bytes 10-19/${it.file.length}`);
    assert.ok(Buffer.from(await part.arrayBuffer()).equals(it.file.subarray(10, 20)));
  });

  it('takes one request for a small NAR by nix, and two by cachix through the server', async () => {
    await start({ uploads: 'Proxy' });
    await pushByPut(server, makePath());
    assert.deepEqual(proxy.counts(), { PutObject: 1 });
    proxy.reset();
    await pushByCachix(server, makePath());
    assert.deepEqual(proxy.counts(), { PutObject: 1, GetObject: 1 });
  });

  it('takes one request for a pull', async () => {
    await start({ reads: 'Proxy' });
    const it = makePath();
    await pushByPut(server, it);
    proxy.reset();
    assert.ok(await isServed(server, it));
    assert.deepEqual(proxy.counts(), { GetObject: 1 });
  });

  describe('with direct uploads', () => {
    it('gives out URLs that take exactly the bytes of their MD5', async () => {
      await start();
      const upload = await createUpload(server);
      const piece = randomBytes(1000);
      const url = await partUrl(upload, 1, piece);
      assert.equal(new URL(url).origin, proxy.endpoint);
      assert.match(url, /X-Amz-SignedHeaders=content-md5%3Bhost/);
      const put = (body: Buffer, md5?: string) =>
        fetch(url, {
          method: 'PUT',
          body: new Uint8Array(body),
          headers: md5 === undefined ? {} : { 'content-md5': md5 },
        });
      const md5 = (body: Buffer) => createHash('md5').update(body).digest('base64');
      const other = randomBytes(1000);
      assert.equal((await put(piece)).status, 403, 'the header is signed');
      assert.equal((await put(other, md5(other))).status, 403);
      assert.equal((await put(other, md5(piece))).status, 400);
      assert.equal((await put(piece, md5(piece))).status, 200);
    });

    it('takes an empty last part itself and leaves it out', async () => {
      await start();
      const it = makePath({ contents: randomBytes(6 * MIB) });
      const upload = await createUpload(server);
      const etags = [await sendPart(upload, 1, it.file), await sendPart(upload, 2, Buffer.alloc(0))];
      assert.equal(proxy.count('UploadPart'), 1);
      await completeUpload(upload, it, etags);
      assert.ok(await isServed(server, it));
    });

    it('names uploads: Proxy where parts are too small for S3', async () => {
      await start();
      const it = makePath({ contents: randomBytes(3 * MIB) });
      await assert.rejects(pushByCachix(server, it, { parts: 3 }), (error) => {
        return error instanceof Refusal && error.status === 400 && /uploads: Proxy/.test(error.text);
      });
      await nothingLeft(0);
    });

    it('publishes nothing that is not what was claimed, and removes it', async () => {
      await start();
      const [it, other] = [makePath(), makePath()];
      for (const wrong of [
        { ...it, file: other.file },
        { ...it, file: randomBytes(it.file.length) },
        { ...it, file: it.file.subarray(0, -1) },
      ]) {
        const upload = await createUpload(server);
        const etags = await sendParts(upload, wrong);
        const refused = async () => {
          await assert.rejects(completeUpload(upload, it, etags), (error) => {
            assert.ok(error instanceof Refusal, String(error));
            return error.status === 400;
          });
        };
        await refused();
        // Asked again, as a client does whose answer was lost: the same answer.
        await refused();
      }
      assert.ok(!(await isServed(server, it)));
      await nothingLeft(0);
    });

    it('refuses parts that nobody sent', async () => {
      await start();
      const it = makePath();
      const upload = await createUpload(server);
      await assert.rejects(completeUpload(upload, it, [`"${'0'.repeat(32)}"`]), (error) => {
        return error instanceof Refusal && error.status === 400;
      });
    });

    it('lets a second complete join the first, and answers a third', async () => {
      await start();
      const it = makePath({ contents: randomBytes(8 * MIB) });
      const upload = await createUpload(server);
      const etags = await sendParts(upload, it);
      await Promise.all([completeUpload(upload, it, etags), completeUpload(upload, it, etags)]);
      await completeUpload(upload, it, etags);
      assert.equal(proxy.count('CompleteMultipartUpload'), 1);
      assert.ok(await isServed(server, it));
    });

    it('goes on with an upload after a restart, and ends one that expires', async () => {
      await start();
      const it = makePath();
      const upload = await createUpload(server);
      const etags = await sendParts(upload, it);
      assert.equal(await server.stop('SIGKILL'), null);
      await server.restart();
      await completeUpload({ ...upload, url: upload.url.replace(/^http:\/\/[^/]+/, server.url) }, it, etags);
      assert.ok(await isServed(server, it));
      await nothingLeft(1);
    });

    it('removes what an upload that nobody completes has sent, when it expires', async () => {
      await start();
      await sendParts(await createUpload(server), makePath());
      assert.equal((await s3.uploads(BUCKET, `${prefix}/`)).length, 1);
      await server.stop();
      const database = await SqliteDatabase.open({ file: path.join(server.data, 'main', 'db.sqlite') });
      await database.script([['UPDATE uploads SET expires_at = 1']]);
      await database.close();
      await server.restart();
      await nothingLeft(0);
    });
  });

  describe('with uploads through the server', () => {
    it('takes parts of any size, in any order', async () => {
      await start({ uploads: 'Proxy' });
      const small = makePath({ contents: randomBytes(3 * MIB) });
      await pushByCachix(server, small, { parts: 5, order: [3, 1, 5, 2, 4] });
      const large = makePath({ contents: randomBytes(14 * MIB) });
      const upload = await createUpload(server);
      const cut = [0, 6 * MIB, 12 * MIB, large.file.length];
      const etags: string[] = [];
      for (const index of [2, 0, 1])
        etags[index] = await sendPart(upload, index + 1, large.file.subarray(cut[index], cut[index + 1]));
      etags.push(await sendPart(upload, 4, Buffer.alloc(0)));
      await completeUpload(upload, large, etags);
      for (const it of [small, large]) assert.ok(await isServed(server, it));
      await nothingLeft(2);
    });

    it('refuses a part with another MD5 and takes the right one after it', async () => {
      await start({ uploads: 'Proxy' });
      for (const bytes of [1000, 6 * MIB]) {
        const it = makePath({ contents: randomBytes(bytes) });
        const upload = await createUpload(server);
        const url = await partUrl(upload, 1, it.file);
        const wrong = await fetch(url, { method: 'PUT', body: new Uint8Array(randomBytes(it.file.length)) });
        assert.equal(wrong.status, 400, await wrong.text());
        await completeUpload(upload, it, [await sendPart(upload, 1, it.file)]);
        assert.ok(await isServed(server, it));
      }
    });

    it('is asked for smaller chunks of one size where parts of both kinds are mixed', async () => {
      await start({ uploads: 'Proxy' });
      const it = makePath({ contents: randomBytes(13 * MIB) });
      const upload = await createUpload(server);
      const cut = [0, 6 * MIB, 7 * MIB, it.file.length];
      const etags: string[] = [];
      for (const index of [0, 1, 2])
        etags[index] = await sendPart(upload, index + 1, it.file.subarray(cut[index], cut[index + 1]));
      await assert.rejects(completeUpload(upload, it, etags), (error) => {
        return error instanceof Refusal && error.status === 400;
      });
      await nothingLeft(0);
    });
  });

  describe('when S3 fails', () => {
    it('tries again what it may', async () => {
      await start({ reads: 'Proxy' });
      const it = makePath({ contents: randomBytes(20 * MIB) });
      const slow = s3Error(503, 'SlowDown');
      for (const operation of [
        'PutObject',
        'CreateMultipartUpload',
        'UploadPart',
        'CompleteMultipartUpload',
        'GetObject',
      ] as const) {
        const faults = [slow, s3Error(500, 'InternalError'), { status: 'drop' as const, forward: false }];
        // A read is not waited for beyond the tries of the SDK: its client comes again.
        proxy.fate = s3InTurn(operation, operation === 'GetObject' ? faults.slice(1) : faults);
        const path = operation === 'PutObject' ? makePath() : makePath({ contents: randomBytes(20 * MIB) });
        await pushByPut(server, path);
        assert.ok(await isServed(server, path), operation);
      }
      proxy.fate = () => undefined;
      await pushByCachix(server, it);
      assert.ok(await isServed(server, it));
    });

    it('publishes once where only the answer of the last request was lost', async () => {
      await start();
      proxy.fate = s3InTurn('CompleteMultipartUpload', [{ status: 'drop', forward: true }]);
      const it = makePath({ contents: randomBytes(20 * MIB) });
      await pushByPut(server, it);
      proxy.fate = s3InTurn('CompleteMultipartUpload', [{ status: 'drop', forward: true }]);
      const second = makePath();
      await pushByCachix(server, second);
      for (const path of [it, second]) assert.ok(await isServed(server, path));
      await nothingLeft(2);
    });

    it('goes on with a download that breaks in the middle', async () => {
      await start({ reads: 'Proxy' });
      const it = makePath({ contents: randomBytes(5 * MIB) });
      await pushByPut(server, it);
      let cuts = 0;
      proxy.fate = ({ operation }) =>
        operation === 'GetObject' && cuts++ < 2 ? { cutAfterBytes: 1_500_000 } : undefined;
      assert.ok(await isServed(server, it));
      assert.equal(cuts, 3);
    });

    it('answers its NARs with 503 and when to come back, names it, and takes it back', async () => {
      await start({}, ['--transient-retry', '1']);
      const it = makePath();
      await pushByPut(server, it);
      await s3.stop();
      const readyz = async () => (await fetch(`${server.adminUrl}/readyz?verbose`)).text();
      await assert.rejects(pushByPut(server, makePath()), (error) => error instanceof Refusal && error.status === 503);
      await until('it is ill', async () => /\[!\] cache main storage bucket: /.test(await readyz()));
      assert.match(await readyz(), /\nready\n$/);
      const nar = await fetch(`${server.url}/${it.narUrl}`, { redirect: 'manual' });
      assert.equal(nar.status, 503);
      assert.match(nar.headers.get('retry-after') ?? '', /^\d+$/);
      assert.equal((await fetch(`${server.url}/${it.hashPart}.narinfo`)).status, 200);
      await s3.restart();
      await until('it is back', async () => /\[\+\] cache main storage bucket: /.test(await readyz()));
      assert.ok(await isServed(server, it));
      await pushByPut(server, makePath());
    });

    it('pushes to the next storage meanwhile, small ones even in the middle', async () => {
      prefix = `p${prefixes++}`;
      server = await TestServer.start({
        manifest: s3Manifest(s3, [
          s3Storage('bucket', BUCKET, proxy.endpoint, { prefix }),
          '  - {name: disk, local: {}}\n',
        ]),
        args: FAST,
      });
      const pushed: TestPath[] = [];
      const push = async (by: Push) => {
        const it = makePath();
        await by(server, it);
        pushed.push(it);
      };
      await push(pushByPut);
      proxy.fate = () => s3Error(503, 'SlowDown');
      await push(pushByPut);
      await until('it is ill', async () =>
        /\[!\] .* storage bucket: .*SlowDown/.test(await (await fetch(`${server.adminUrl}/readyz?verbose`)).text()),
      );
      await push(pushByPut);
      await push(pushByCachix);
      proxy.fate = () => undefined;
      await until('all are served', async () => {
        for (const it of pushed) if (!(await isServed(server, it).catch(() => false))) return false;
        return true;
      });
      assert.equal((await objects()).length, 1);
    });
  });
});
