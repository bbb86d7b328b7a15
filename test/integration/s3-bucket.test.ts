import assert from 'node:assert/strict';
import { Bucket } from '../../server/storage/s3/bucket.ts';
import { describeWith } from '../support/needs.ts';
import { S3Server } from '../support/s3.ts';

const BUCKET = 'narwhal';

describeWith('versitygw', 'a bucket', () => {
  let s3: S3Server;
  let bucket: Bucket;
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
    const { endpoint, region, accessKeyId, secretAccessKey } = s3;
    bucket = new Bucket({
      storage: 'test',
      config: {
        bucket: BUCKET,
        region,
        endpoint,
        publicEndpoint: undefined,
        prefix: '',
        forcePathStyle: true,
        credentials: { accessKeyId, secretAccessKey },
        reads: 'Proxy',
        uploads: 'Proxy',
      },
    });
  });
  after(async () => {
    bucket.close();
    await s3.remove();
  });

  const all = async <T>(list: AsyncIterable<T>) => {
    const items: T[] = [];
    for await (const item of list) items.push(item);
    return items;
  };

  it('lists more objects than a page holds, in order, from a key on', async () => {
    const keys = Array.from({ length: 7 }, (_, index) => `objects/${index}`);
    const body = Buffer.from('x');
    for (const key of [...keys, 'other']) await bucket.put(key, { body, size: 1, md5: 'ndTkYSaMgDT1yFZOFVxnpg==' });
    const listed = async (after?: string) => (await all(bucket.list('objects/', after, 3))).map((it) => it.key);
    assert.deepEqual(await listed(), keys);
    assert.deepEqual(await listed('objects/4'), keys.slice(5));
  });

  it('lists more unfinished uploads than a page holds', async () => {
    const keys = Array.from({ length: 1005 }, (_, index) => `uploads/${String(index).padStart(4, '0')}`);
    for (let at = 0; at < keys.length; at += 32)
      await Promise.all(keys.slice(at, at + 32).map((key) => bucket.createUpload(key)));
    assert.deepEqual((await all(bucket.uploads('uploads/'))).map((it) => it.key).sort(), keys);
  });
});
