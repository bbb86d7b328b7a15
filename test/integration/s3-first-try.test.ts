// Requests for objects that go out without the SDK's layers, and what the SDK does of them where they go wrong.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Bucket } from '../../server/storage/s3/bucket.ts';
import { readWhole } from '../../server/storage/s3/storage.ts';
import { describeWith } from '../support/needs.ts';
import { S3Server } from '../support/s3.ts';
import { S3Proxy, s3Error, s3InTurn } from '../support/s3-proxy.ts';

const BUCKET = 'narwhal';
const KEY = 'objects/one';
const BODY = Buffer.from('the bytes of an object');

describeWith('versitygw', 'a first try without the SDK', () => {
  let s3: S3Server;
  let proxy: S3Proxy;
  let bucket: Bucket;
  const heard: { operation: string; status: number }[] = [];
  const content = (body: Buffer) => ({
    body,
    size: body.length,
    md5: createHash('md5').update(body).digest('base64'),
  });
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
    proxy = await S3Proxy.start(s3.endpoint);
  });
  after(async () => {
    await proxy.close();
    await s3.remove();
  });
  beforeEach(async () => {
    proxy.fate = () => undefined;
    bucket = makeBucket();
    // By the SDK: nobody knows yet how the service does, and where the bucket is.
    await bucket.put(KEY, content(BODY));
    proxy.reset();
    heard.length = 0;
  });
  afterEach(() => bucket.close());

  function makeBucket(): Bucket {
    const { region, accessKeyId, secretAccessKey } = s3;
    return new Bucket({
      storage: 'test',
      config: {
        bucket: BUCKET,
        region,
        endpoint: proxy.endpoint,
        publicEndpoint: undefined,
        prefix: '',
        forcePathStyle: true,
        credentials: { accessKeyId, secretAccessKey },
        reads: 'Proxy',
        uploads: 'Proxy',
      },
      onRequest: ({ operation, status }) => heard.push({ operation, status }),
    });
  }

  const isBare = (at = 0) => proxy.seen[at]?.headers['amz-sdk-request'] === undefined;
  const get = async (range?: { start: number; end: number }) => {
    const { body, size } = await bucket.get(KEY, range);
    const bytes = await readWhole(body);
    assert.equal(bytes.length, size);
    return bytes;
  };

  it('writes, reads and removes, with one request each, which is counted', async () => {
    await bucket.put(KEY, content(Buffer.from('other bytes')));
    assert.equal((await get()).toString(), 'other bytes');
    assert.equal((await get({ start: 6, end: 8 })).toString(), 'byt');
    await bucket.delete(KEY);
    assert.deepEqual(
      proxy.seen.map((_, at) => isBare(at)),
      [true, true, true, true],
    );
    assert.deepEqual(heard, [
      { operation: 'PutObject', status: 200 },
      { operation: 'GetObject', status: 200 },
      { operation: 'GetObject', status: 206 },
      { operation: 'DeleteObject', status: 204 },
    ]);
    assert.equal(await bucket.head(KEY), undefined);
  });

  it('takes keys as the SDK takes them', async () => {
    for (const key of ["a b/+c(d)'e!*", 'ä/%41&?=#', 'x//y', '~-_.$,:;@']) {
      await bucket.put(key, content(BODY));
      assert.ok(isBare(proxy.seen.length - 1), key);
      assert.equal(await bucket.head(key), BODY.length, key);
      assert.ok((await readWhole((await bucket.get(key)).body)).equals(BODY), key);
      assert.ok(isBare(proxy.seen.length - 1), key);
    }
  });

  it('that fails is one of the three tries there are, and the first success ends them', async () => {
    proxy.fate = s3InTurn('GetObject', [s3Error(503, 'SlowDown'), s3Error(500, 'InternalError')]);
    assert.ok((await get()).equals(BODY));
    assert.deepEqual(
      heard.map(({ status }) => status),
      [503, 500, 200],
    );
    heard.length = 0;
    proxy.fate = s3InTurn('PutObject', [
      s3Error(503, 'SlowDown'),
      s3Error(503, 'SlowDown'),
      s3Error(503, 'SlowDown'),
      s3Error(503, 'SlowDown'),
    ]);
    await assert.rejects(bucket.put(KEY, content(BODY)), /answers SlowDown/);
    assert.deepEqual(
      heard.map(({ status }) => status),
      [503, 503, 503],
    );
  });

  it('is not made of a service that is not well', async () => {
    proxy.fate = () => s3Error(503, 'SlowDown');
    await assert.rejects(get());
    proxy.fate = () => undefined;
    proxy.reset();
    assert.ok((await get()).equals(BODY));
    assert.equal(isBare(), false);
    assert.ok((await get()).equals(BODY));
    assert.equal(isBare(1), true);
  });

  it('that finds nothing, or is refused, ends with the words of the service', async () => {
    await assert.rejects(bucket.get('objects/none'), { name: 'ObjectMissingError' });
    proxy.fate = () => s3Error(403, 'AccessDenied');
    await assert.rejects(get(), /denies access to bucket narwhal/);
    proxy.fate = () => undefined;
    await get();
    // The service finds that the bytes are not those that were meant.
    const wrong = { ...content(BODY), md5: content(Buffer.from('x')).md5 };
    await assert.rejects(bucket.put(KEY, wrong), { name: 'PartsError', code: 'digest' });
  });

  it('goes by the clock of the service, once the SDK has heard of it', async () => {
    const aheadMs = 2 * 3600_000;
    const answer = (status: number, code: string) => {
      const fault = s3Error(status, code);
      return { ...fault, headers: { ...fault.headers, Date: new Date(Date.now() + aheadMs).toUTCString() } };
    };
    const skewed = answer(403, 'RequestTimeTooSkewed');
    const dates = () => proxy.seen.map(({ headers }) => dateOf(String(headers['x-amz-date'])));
    const missing = answer(404, 'NoSuchKey');
    const clocks = s3InTurn('GetObject', [skewed, skewed]);
    proxy.fate = (request) => clocks(request) ?? missing;
    await assert.rejects(get(), { name: 'ObjectMissingError' });
    assert.deepEqual(
      heard.map(({ status }) => status),
      [403, 403, 404],
    );
    proxy.reset();
    await assert.rejects(get(), { name: 'ObjectMissingError' });
    assert.ok(isBare());
    assert.ok(Math.abs((dates()[0] ?? 0) - Date.now() - aheadMs) < aheadMs / 2);
  });
});

/** Of `20261130T105441Z`. */
function dateOf(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
}
