// Attempts at parts of an upload to S3 that end when the upload is long published: they change nothing.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { PartAttempt } from '../support/part-attempt.ts';
import {
  completeUpload,
  createUpload,
  isServed,
  type OpenUpload,
  partUrl,
  pushByPut,
  Refusal,
  sendPart,
} from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy, s3Error } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';

const MIB = 2 ** 20;
const BUCKET = 'narwhal';

describeWith('versitygw', 'attempts at parts for S3', () => {
  let s3: S3Server;
  let server: TestServer;
  let prefix = '';
  let prefixes = 0;

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
  });
  after(() => s3.remove());
  afterEach(() => server.remove());

  async function start(uploads: 'Direct' | 'Proxy'): Promise<void> {
    prefix = `p${prefixes++}`;
    server = await TestServer.start({
      manifest: s3Manifest(s3, [s3Storage('bucket', BUCKET, s3.endpoint, { prefix, uploads })]),
      args: ['--housekeeping-interval', '0.2'],
    });
  }

  const onlyObjectsAreLeft = (count: number) =>
    until(`${count} objects and nothing else are left`, async () => {
      const [keys, uploads] = [await s3.keys(BUCKET, `${prefix}/`), await s3.uploads(BUCKET, `${prefix}/`)];
      return keys.length === count + 1 && uploads.length === 0;
    });

  const begin = async (upload: OpenUpload, number: number, piece: Buffer) =>
    new PartAttempt(await partUrl(upload, number, piece), piece.length, {
      'content-md5': createHash('md5').update(piece).digest('base64'),
    });

  /** Sends half of the bytes now, the rest and the end when the promise's function is called. */
  async function half(upload: OpenUpload, number: number, piece: Buffer): Promise<() => PartAttempt['answer']> {
    const attempt = await begin(upload, number, piece);
    await attempt.send(piece.subarray(0, piece.length / 2));
    return async () => {
      await attempt.send(piece.subarray(piece.length / 2));
      attempt.end();
      return attempt.answer;
    };
  }

  for (const [what, bytes] of [
    ['small', 100_000],
    ['large', 6 * MIB],
  ] as const) {
    it(`change nothing where they end after its publication: a ${what} part through the server`, async () => {
      await start('Proxy');
      const it = makePath({ contents: randomBytes(bytes) });
      const other = randomBytes(it.file.length);
      const upload = await createUpload(server);
      const ends = [await half(upload, 1, other), await half(upload, 1, it.file)];
      await completeUpload(upload, it, [await sendPart(upload, 1, it.file)]);
      assert.ok(await isServed(server, it));
      for (const end of ends) {
        const answer = await end();
        assert.equal(answer?.status, 404, answer?.text);
        assert.match(answer?.text ?? '', /this upload is over; start a new one/);
      }
      assert.ok(await isServed(server, it));
      await onlyObjectsAreLeft(1);
    });
  }

  it('are answered alike where the part came with another attempt, and leave nothing', async () => {
    await start('Proxy');
    const it = makePath({ contents: randomBytes(100_000) });
    const upload = await createUpload(server);
    const [same, other] = [await half(upload, 1, it.file), await half(upload, 1, randomBytes(1000))];
    const etag = await sendPart(upload, 1, it.file);
    assert.equal((await same())?.status, 200);
    const refused = await other();
    assert.equal(refused?.status, 409);
    assert.match(refused?.text ?? '', /part 1 was received with other bytes; start a new upload/);
    await completeUpload(upload, it, [etag]);
    assert.ok(await isServed(server, it));
    await onlyObjectsAreLeft(1);
  });

  it('have no key in common with the object that small parts are put together to', async () => {
    await start('Proxy');
    const it = makePath({ contents: randomBytes(300_000) });
    const [first, second] = [it.file.subarray(0, 100_000), it.file.subarray(100_000)];
    const upload = await createUpload(server);
    const late = await half(upload, 1, randomBytes(100_000));
    const etags = [await sendPart(upload, 1, first), await sendPart(upload, 2, second)];
    await completeUpload(upload, it, etags);
    assert.equal((await late())?.status, 404);
    assert.ok(await isServed(server, it));
    await onlyObjectsAreLeft(1);
  });

  it('change nothing by a URL of S3 that was given out before the upload was completed', async () => {
    await start('Direct');
    const it = makePath({ contents: randomBytes(6 * MIB) });
    const other = randomBytes(100_000);
    const upload = await createUpload(server);
    const url = await partUrl(upload, 1, other);
    const headers = { 'content-md5': createHash('md5').update(other).digest('base64') };
    await completeUpload(upload, it, [await sendPart(upload, 1, it.file)]);
    const answer = await fetch(url, { method: 'PUT', body: new Uint8Array(other), headers });
    // S3 forgets the upload's id when it joins its parts.
    assert.equal(answer.status, 404);
    assert.match(await answer.text(), /NoSuchUpload/);
    assert.ok(await isServed(server, it));
    await onlyObjectsAreLeft(1);
  });

  it('change nothing where they began at S3 before, and go on afterwards', async () => {
    await start('Direct');
    const it = makePath({ contents: randomBytes(6 * MIB) });
    const upload = await createUpload(server);
    const late = await half(upload, 1, randomBytes(100_000));
    await completeUpload(upload, it, [await sendPart(upload, 1, it.file)]);
    // Services differ in what they answer; none of them puts it anywhere.
    await late();
    assert.ok(await isServed(server, it));
    await onlyObjectsAreLeft(1);
  });

  describe('where the bucket fails half-way', () => {
    let proxy: S3Proxy;
    beforeEach(async () => {
      proxy = await S3Proxy.start(s3.endpoint);
      prefix = `p${prefixes++}`;
      const more = { prefix, uploads: 'Proxy' };
      server = await TestServer.start({
        manifest: s3Manifest(s3, [s3Storage('bucket', BUCKET, proxy.endpoint, more), '  - {name: disk, local: {}}\n']),
        args: ['--housekeeping-interval', '0.2', '--transient-retry', '2'],
      });
    });
    afterEach(() => proxy.close());
    /** All but the first part of a body fails. */
    const failHalfWay = () => {
      let parts = 0;
      proxy.fate = ({ operation }) =>
        operation === 'UploadPart' && parts++ > 0 ? s3Error(503, 'SlowDown') : undefined;
    };

    it('are put together elsewhere, since they can be read again', async () => {
      const it = makePath({ contents: randomBytes(18 * MIB) });
      const upload = await createUpload(server);
      const etags: string[] = [];
      for (let at = 0; at < it.file.length; at += 4 * MIB)
        etags.push(await sendPart(upload, etags.length + 1, it.file.subarray(at, at + 4 * MIB)));
      failHalfWay();
      await completeUpload(upload, it, etags);
      assert.ok(await isServed(server, it));
      proxy.fate = () => undefined;
      await onlyObjectsAreLeft(0);
    });

    it('and a body that only its client has is refused for now, and the log says why', async () => {
      failHalfWay();
      const it = makePath({ contents: randomBytes(30 * MIB) });
      await assert.rejects(pushByPut(server, it), (error) => error instanceof Refusal && error.status === 503);
      await until('the log says why', () =>
        server.output.includes('storage bucket failed when it had taken in a part of this body; send it again'),
      );
      proxy.fate = () => undefined;
      await pushByPut(server, it);
      assert.ok(await isServed(server, it));
    });
  });
});
