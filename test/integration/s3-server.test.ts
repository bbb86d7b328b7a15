// What the S3 server of the tests does, versitygw 1.8.0, so that a test of ours that fails is not searched in the wrong
// place. As Amazon's: all below, unless it says otherwise. Further differences that no test pins down:
// - keys are paths of a filesystem: `a` and `a/b` cannot both exist (409 ExistingObjectIsDirectory, ObjectParentIsFile),
//   `a//b` and `a/./b` are `a/b`, and a word between slashes has at most 255 bytes (400 KeyTooLongError)
// - a body of several MB for a bucket that does not exist may end in a reset connection instead of an answer
// - several ranges in one request, and those that make no sense, answer 200 with the whole object
// - sessions, roles and virtual hosts are not there; there is one account
import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { describeWith } from '../support/needs.ts';
import { S3Server } from '../support/s3.ts';

const MIB = 1024 * 1024;
const Bucket = 'narwhal-test';
const NOBODYS_UPLOAD = '00000000-0000-4000-8000-000000000000';

describeWith('versitygw', 'the S3 server of the tests', () => {
  let server: S3Server;
  let client: S3Client;
  const body = Buffer.from('0123456789');

  before(async () => {
    server = await S3Server.start();
    client = server.client({ maxAttempts: 1 });
    await server.createBucket(Bucket);
    await client.send(new PutObjectCommand({ Bucket, Key: 'ten', Body: body, ContentType: 'application/x-nix-nar' }));
  });
  after(() => server.remove());

  const start = async (Key: string) =>
    (await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))).UploadId ?? '';
  const part = async (Key: string, UploadId: string, PartNumber: number, bytes: Buffer, ContentMD5 = md5(bytes)) => {
    const { ETag } = await client.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body: bytes, ContentMD5 }),
    );
    return { PartNumber, ETag };
  };
  const complete = (Key: string, UploadId: string, Parts: { PartNumber: number; ETag: string | undefined }[]) =>
    client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }));

  it('gives ranges', async () => {
    const range = async (Range: string) => {
      const answer = await client.send(new GetObjectCommand({ Bucket, Key: 'ten', Range }));
      return [answer.$metadata.httpStatusCode, answer.ContentRange, await answer.Body?.transformToString()];
    };
    assert.deepEqual(await range('bytes=2-4'), [206, 'bytes 2-4/10', '234']);
    assert.deepEqual(await range('bytes=8-99'), [206, 'bytes 8-9/10', '89']);
    assert.deepEqual(await range('bytes=-3'), [206, 'bytes 7-9/10', '789']);
    await refuses(range('bytes=10-'), 416, 'InvalidRange');
  });

  it('tells of an object by HEAD, without a code where there is none', async () => {
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: 'ten' }));
    assert.equal(head.ContentLength, 10);
    assert.equal(head.ContentType, 'application/x-nix-nar');
    assert.equal(head.ETag, `"${createHash('md5').update(body).digest('hex')}"`);
    // An answer to HEAD has no body that could name a code; the bucket's absence looks the same.
    await refuses(client.send(new HeadObjectCommand({ Bucket, Key: 'none' })), 404, 'NotFound');
    await refuses(client.send(new HeadObjectCommand({ Bucket: 'no-bucket', Key: 'none' })), 404, 'NotFound');
  });

  it('knows no object and no bucket', async () => {
    await refuses(client.send(new GetObjectCommand({ Bucket, Key: 'none' })), 404, 'NoSuchKey');
    await refuses(client.send(new GetObjectCommand({ Bucket: 'no-bucket', Key: 'none' })), 404, 'NoSuchBucket');
    await refuses(client.send(new ListObjectsV2Command({ Bucket: 'no-bucket' })), 404, 'NoSuchBucket');
    const create = new CreateMultipartUploadCommand({ Bucket: 'no-bucket', Key: 'none' });
    await refuses(client.send(create), 404, 'NoSuchBucket');
    const { $metadata } = await client.send(new DeleteObjectCommand({ Bucket, Key: 'none' }));
    assert.equal($metadata.httpStatusCode, 204);
  });

  it('refuses a body with another MD5 and keeps nothing of it', async () => {
    const put = new PutObjectCommand({ Bucket, Key: 'bad', Body: body, ContentMD5: md5(Buffer.from('other')) });
    await refuses(client.send(put), 400, 'BadDigest');
    await refuses(client.send(new HeadObjectCommand({ Bucket, Key: 'bad' })), 404, 'NotFound');
    const id = await start('bad-part');
    await refuses(part('bad-part', id, 1, body, md5(Buffer.from('other'))), 400, 'BadDigest');
    await refuses(part('bad-part', id, 1, body, 'AAAA'), 400, 'InvalidDigest');
  });

  it('makes no object over another with If-None-Match', async () => {
    const put = () => client.send(new PutObjectCommand({ Bucket, Key: 'once', Body: body, IfNoneMatch: '*' }));
    await put();
    await refuses(put(), 412, 'PreconditionFailed');
  });

  it('completes an upload whose last part is empty, and says the same when asked again', async () => {
    const id = await start('whole');
    const parts = [await part('whole', id, 1, randomBytes(5 * MIB)), await part('whole', id, 2, Buffer.alloc(0))];
    const { ETag } = await complete('whole', id, parts);
    assert.match(ETag ?? '', /^"[0-9a-f]{32}-2"$/);
    // As long as the object is there. The parts are not compared again.
    assert.equal((await complete('whole', id, parts)).ETag, ETag);
    await client.send(new DeleteObjectCommand({ Bucket, Key: 'whole' }));
    await refuses(complete('whole', id, parts), 404, 'NoSuchUpload');
  });

  it('refuses to complete with small, wrong, unordered or no parts, and leaves the upload open', async () => {
    const id = await start('small');
    const parts = [await part('small', id, 1, randomBytes(MIB)), await part('small', id, 2, randomBytes(MIB))];
    const [first, second] = parts;
    assert(first && second);
    await refuses(complete('small', id, parts), 400, 'EntityTooSmall');
    await refuses(complete('small', id, [{ ...first, ETag: `"${'0'.repeat(32)}"` }]), 400, 'InvalidPart');
    await refuses(complete('small', id, [{ ...first, PartNumber: 3 }]), 400, 'InvalidPart');
    // Sizes come first here: with large enough parts it is InvalidPartOrder.
    await refuses(complete('small', id, [second, first]), 400, 'EntityTooSmall');
    await refuses(complete('small', id, []), 400, 'MalformedXML');
    await refuses(part('small', id, 10_001, body), 400, 'InvalidArgument');
    assert.deepEqual(await server.uploads(Bucket, 'small'), [{ key: 'small', id }]);
  });

  it('aborts an upload once', async () => {
    const id = await start('aborted');
    const abort = (UploadId: string) =>
      client.send(new AbortMultipartUploadCommand({ Bucket, Key: 'aborted', UploadId }));
    await abort(id);
    await refuses(abort(id), 404, 'NoSuchUpload');
    await refuses(abort(NOBODYS_UPLOAD), 404, 'NoSuchUpload');
    await refuses(part('aborted', id, 1, body), 404, 'NoSuchUpload');
    await refuses(complete('aborted', id, [{ PartNumber: 1, ETag: `"${'0'.repeat(32)}"` }]), 404, 'NoSuchUpload');
  });

  it('lists objects in pages', async () => {
    for (let number = 0; number < 5; number++)
      await client.send(new PutObjectCommand({ Bucket, Key: `list/${number}`, Body: body }));
    const page = (ContinuationToken?: string) =>
      client.send(new ListObjectsV2Command({ Bucket, Prefix: 'list/', MaxKeys: 2, ContinuationToken }));
    const first = await page();
    assert.equal(first.IsTruncated, true);
    const second = await page(first.NextContinuationToken);
    assert.deepEqual(
      second.Contents?.map(({ Key }) => Key),
      ['list/2', 'list/3'],
    );
    const after = new ListObjectsV2Command({ Bucket, Prefix: 'list/', StartAfter: 'list/22' });
    assert.equal((await client.send(after)).Contents?.[0]?.Key, 'list/3');
    assert.equal((await server.keys(Bucket, 'list/')).length, 5);
  });

  it('lists open uploads of a prefix, in pages by key alone, unlike Amazon', async () => {
    const ids = [await start('open/a'), await start('open/b'), await start('openly')];
    const open = await server.uploads(Bucket, 'open/');
    assert.deepEqual(
      open.map(({ id }) => id),
      ids.slice(0, 2),
    );
    const page = (markers: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined }) =>
      client.send(new ListMultipartUploadsCommand({ Bucket, Prefix: 'open/', MaxUploads: 1, ...markers }));
    const { IsTruncated, NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = await page({});
    assert.equal(IsTruncated, true);
    assert.equal((await page({ KeyMarker })).Uploads?.[0]?.Key, 'open/b');
    // A fault of this version: it looks for the marker among the keys after KeyMarker.
    await refuses(page({ KeyMarker, UploadIdMarker }), 400, 'InvalidArgument');
  });

  it('refuses other regions, secrets, keys and clocks', async () => {
    const get = (config: Parameters<S3Server['client']>[0]) =>
      server.client({ maxAttempts: 1, ...config }).send(new GetObjectCommand({ Bucket, Key: 'ten' }));
    const { accessKeyId, secretAccessKey } = server;
    await refuses(get({ region: 'elsewhere-1' }), 400, 'AuthorizationHeaderMalformed');
    const wrong = { accessKeyId, secretAccessKey: 'wrong' };
    await refuses(get({ credentials: wrong }), 403, 'SignatureDoesNotMatch');
    // Amazon: 403 InvalidAccessKeyId.
    const unknown = { accessKeyId: 'NOBODY', secretAccessKey };
    await refuses(get({ credentials: unknown }), 404, 'XAdminUserNotFound');
    await refuses(get({ systemClockOffset: -16 * 60_000 }), 403, 'RequestTimeTooSkewed');
    await refuses(get({ systemClockOffset: 16 * 60_000 }), 403, 'RequestTimeTooSkewed');
    assert.equal((await get({ systemClockOffset: -14 * 60_000 })).ContentLength, 10);
  });

  it('takes signed URLs', async () => {
    const id = await start('signed');
    const query = `partNumber=1&uploadId=${id}`;
    const bytes = randomBytes(100);
    const put = await fetch(signedUrl(server, 'PUT', '/signed', { query }), { method: 'PUT', body: bytes });
    assert.equal(put.status, 200);
    await complete('signed', id, [{ PartNumber: 1, ETag: put.headers.get('etag') ?? '' }]);
    const url = signedUrl(server, 'GET', '/signed', {});
    assert.deepEqual(Buffer.from(await (await fetch(url)).arrayBuffer()), bytes);
    assert.equal((await fetch(url, { headers: { range: 'bytes=0-9' } })).status, 206);
    // The method is signed.
    await answers(await fetch(url, { method: 'HEAD' }), 403);
    const late = signedUrl(server, 'GET', '/signed', { at: Date.now() - 61_000 });
    await answers(await fetch(late), 403, 'AccessDenied');
    await answers(await fetch(url.replace('/signed', '/ten')), 403, 'SignatureDoesNotMatch');
    await answers(await fetch(`${server.endpoint}/${Bucket}/ten`), 403, 'AccessDenied');
  });

  it('checks a signed MD5 of a part that comes by a signed URL', async () => {
    const id = await start('signed-md5');
    const bytes = randomBytes(100);
    const query = `partNumber=1&uploadId=${id}`;
    const url = signedUrl(server, 'PUT', '/signed-md5', { query, headers: { 'content-md5': md5(bytes) } });
    const put = (value: string, content = bytes) =>
      fetch(url, { method: 'PUT', body: content, headers: { 'content-md5': value } });
    await answers(await put(md5(Buffer.from('x'))), 403, 'SignatureDoesNotMatch');
    await answers(await put(md5(bytes), randomBytes(100)), 400, 'BadDigest');
    await answers(await fetch(url, { method: 'PUT', body: bytes }), 403, 'SignatureDoesNotMatch');
    await answers(await put(md5(bytes)), 200);
  });

  it('keeps objects and open uploads over a kill', async () => {
    const id = await start('survivor');
    const parts = [await part('survivor', id, 1, body)];
    const { endpoint } = server;
    await server.stop('SIGKILL');
    await assert.rejects(server.keys(Bucket), /ECONNREFUSED/);
    await server.restart();
    assert.equal(server.endpoint, endpoint);
    await complete('survivor', id, parts);
    assert.deepEqual(await server.keys(Bucket, 'survivor'), ['survivor']);
  });
});

async function refuses(promise: Promise<unknown>, status: number, code: string): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert(error instanceof S3ServiceException, String(error));
    assert.deepEqual([error.$metadata.httpStatusCode, error.name], [status, code]);
    return true;
  });
}

async function answers(response: Response, status: number, code = ''): Promise<void> {
  const text = await response.text();
  assert.equal(response.status, status, text);
  assert.equal(/<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? '', code);
}

function md5(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('base64');
}

/** A URL that is good for a minute, as in "Authenticating requests: query parameters" of Amazon's S3 reference. */
function signedUrl(
  server: S3Server,
  method: string,
  path: string,
  { query = '', headers = {}, at = Date.now() }: { query?: string; headers?: Record<string, string>; at?: number },
): string {
  const time = new Date(at).toISOString().replace(/[:-]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/${server.region}/s3/aws4_request`;
  const url = new URL(`/${Bucket}${path}?${query}`, server.endpoint);
  const signed = { host: url.host, ...headers };
  const names = Object.keys(signed).sort();
  const parameters = {
    Algorithm: 'AWS4-HMAC-SHA256',
    Credential: `${server.accessKeyId}/${scope}`,
    Date: time,
    Expires: '60',
    SignedHeaders: names.join(';'),
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(`X-Amz-${name}`, value);
  url.searchParams.sort();
  const lines = Object.entries(signed).sort(([a], [b]) => (a < b ? -1 : 1));
  const canonical = [
    ...[method, url.pathname, url.search.slice(1)],
    ...lines.map(([name, value]) => `${name}:${value}`),
    ...['', names.join(';'), 'UNSIGNED-PAYLOAD'],
  ].join('\n');
  const digest = createHash('sha256').update(canonical).digest('hex');
  const hmac = (key: Buffer | string, text: string) => createHmac('sha256', key).update(text).digest();
  const key = scope.split('/').reduce<Buffer | string>(hmac, `AWS4${server.secretAccessKey}`);
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${time}\n${scope}\n${digest}`).toString('hex');
  return `${url.href}&X-Amz-Signature=${signature}`;
}
