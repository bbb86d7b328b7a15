// The proxy that stands between a server and S3 in tests: transparent for signatures, and faulty on demand.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { describeWith } from '../support/needs.ts';
import { S3Server } from '../support/s3.ts';
import { S3Proxy, s3Error, s3InTurn } from '../support/s3-proxy.ts';

const Bucket = 'narwhal-test';

describeWith('versitygw', 'the S3 proxy of the tests', () => {
  let server: S3Server;
  let proxy: S3Proxy;
  let client: S3Client;
  const body = randomBytes(100_000);

  before(async () => {
    server = await S3Server.start();
    await server.createBucket(Bucket);
  });
  after(() => server.remove());
  beforeEach(async () => {
    proxy = await S3Proxy.start(server.endpoint);
    client = server.client({ endpoint: proxy.endpoint, maxAttempts: 1 });
    await client.send(new PutObjectCommand({ Bucket, Key: 'nar/a b+c', Body: body }));
  });
  afterEach(() => proxy.close());

  const get = () => client.send(new GetObjectCommand({ Bucket, Key: 'nar/a b+c' }));

  it('passes everything on and counts it by operation', async () => {
    const Key = 'whole';
    const bytes = randomBytes(8 * 1024 * 1024);
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const part = new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: bytes });
    const { ETag } = await client.send(part);
    await client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
    await client.send(new ListMultipartUploadsCommand({ Bucket }));
    const MultipartUpload = { Parts: [{ PartNumber: 1, ETag }] };
    await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }));
    await assert.rejects(client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId })), /NoSuchUpload/);
    await client.send(new ListObjectsV2Command({ Bucket }));
    await client.send(new HeadObjectCommand({ Bucket, Key }));
    assert.deepEqual(Buffer.from((await (await get()).Body?.transformToByteArray()) ?? []), body);
    await client.send(new DeleteObjectCommand({ Bucket, Key }));
    assert.deepEqual(proxy.counts(), {
      PutObject: 1,
      GetObject: 1,
      HeadObject: 1,
      DeleteObject: 1,
      ListObjectsV2: 1,
      CreateMultipartUpload: 1,
      UploadPart: 1,
      CompleteMultipartUpload: 1,
      AbortMultipartUpload: 1,
      ListParts: 1,
      ListMultipartUploads: 1,
    });
    const { bucket, key } = proxy.seen[0] ?? {};
    assert.deepEqual({ bucket, key }, { bucket: Bucket, key: 'nar/a b+c' });
  });

  it('answers with an error of S3, before or after the server has done it', async () => {
    const put = (Key: string) => client.send(new PutObjectCommand({ Bucket, Key, Body: body }));
    proxy.fate = s3InTurn('PutObject', [
      s3Error(503, 'SlowDown'),
      s3Error(500, 'InternalError', { forward: true }),
      { status: 'drop', forward: true },
    ]);
    await assert.rejects(put('before'), { name: 'SlowDown' });
    await assert.rejects(put('after'), { name: 'InternalError' });
    await assert.rejects(put('dropped'));
    await put('passed');
    assert.deepEqual(await server.keys(Bucket, 'before'), []);
    assert.deepEqual(await server.keys(Bucket, 'after'), ['after']);
    assert.deepEqual(await server.keys(Bucket, 'dropped'), ['dropped']);
  });

  it('cuts a body after so many bytes', async () => {
    proxy.fate = s3InTurn('GetObject', [{ cutAfterBytes: 1000 }, { cutAfterBytes: 0 }]);
    for (const bytes of [1000, 0]) {
      const response = await get();
      assert.equal(response.ContentLength, body.length);
      let read = 0;
      const reading = async () => {
        for await (const chunk of response.Body?.transformToWebStream() ?? []) read += (chunk as Uint8Array).length;
      };
      await assert.rejects(reading());
      assert.equal(read, bytes);
    }
  });

  it('hangs without an answer', async () => {
    proxy.fate = s3InTurn('GetObject', [{ status: 'hang', forward: false }]);
    const abortSignal = AbortSignal.timeout(100);
    const hanging = client.send(new GetObjectCommand({ Bucket, Key: 'nar/a b+c' }), { abortSignal });
    await assert.rejects(hanging, { name: 'AbortError' });
  });

  it('makes every request wait', async () => {
    proxy.latencyMs = 60;
    const start = performance.now();
    await (await get()).Body?.transformToByteArray();
    assert(performance.now() - start >= 59);
  });
});
