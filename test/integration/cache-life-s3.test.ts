// A cache whose bytes lie in a bucket: its credentials come, change and go; the bucket stays whatever happens.
import assert from 'node:assert/strict';
import { LivingCache } from '../support/living-cache.ts';
import { secretText, type Value } from '../support/manifests.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { createUpload, isServed, partUrl, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { until } from '../support/server.ts';
import { sharedCluster } from '../support/shared-cluster.ts';

const BUCKET = 'narwhal';

describeWith(['kubernetes', 'versitygw'], 'the life of a cache: in a bucket', () => {
  let s3: S3Server;
  let cache: LivingCache;
  let paths: TestPath[];

  before(async () => {
    const [cluster, server] = await Promise.all([sharedCluster(), S3Server.start()]);
    s3 = server;
    await s3.createBucket(BUCKET);
    cache = await LivingCache.prepare(cluster);
    paths = [];
  });
  after(async () => {
    await cache?.remove();
    await s3?.remove();
  });

  const bucket = (name = 'bucket', of = BUCKET): Value => ({
    name,
    s3: {
      bucket: of,
      endpoint: s3.endpoint,
      prefix: 'main',
      forcePathStyle: true,
      credentialsSecretRef: { name: 'credentials' },
    },
  });
  const credentials = (more: Value = {}) => {
    const { accessKeyId, secretAccessKey } = s3;
    return cache.cluster.apply(cache.namespace, secretText('credentials', { accessKeyId, secretAccessKey, ...more }));
  };
  async function push(): Promise<void> {
    for (const by of [pushByPut, pushByCachix]) {
      const it = makePath();
      await by(cache, it);
      paths.push(it);
    }
  }
  async function assertServed(): Promise<void> {
    for (const it of paths) assert.ok(await isServed(cache, it), it.storePath);
  }

  it('waits for credentials that are not there, and names them', async () => {
    await cache.apply({ storages: [bucket()] });
    const { message } = await cache.until('Ready', 'False', 'SecretMissing');
    assert.equal(message, 'Secret credentials (credentials of a bucket) is missing');
    assert.equal((await cache.condition('KeysReady'))?.reason, 'SecretMissing');
    await cache.cluster.apply(cache.namespace, secretText('credentials', { accessKeyId: s3.accessKeyId }));
    await until('the text is about the key that is missing', async () =>
      /has no key secretAccessKey$/.test((await cache.condition('Ready'))?.message ?? ''),
    );
    await credentials();
    await cache.until('Ready', 'True');
  });

  it('serves what is pushed, straight from the bucket', async () => {
    await push();
    await assertServed();
    assert.ok((await partUrl(await createUpload(cache), 1, Buffer.from('part'))).startsWith(s3.endpoint));
    const nar = await fetch(`${cache.api()}/${paths[0]?.narUrl}`, { redirect: 'manual' });
    assert.equal(nar.status, 302);
    assert.ok((await s3.keys(BUCKET, 'main/objects/')).length >= paths.length);
  });

  it('takes over other credentials without a restart', async () => {
    const before = await cache.life();
    await credentials({ secretAccessKey: 'another-secret-that-is-not-right' });
    const { message } = await cache.until('Ready', 'False', 'StorageUnavailable');
    assert.match(message, /^storage bucket: .*secret access key is wrong/);
    assert.equal((await cache.storage('bucket'))?.phase, 'Unavailable');
    await credentials();
    await cache.until('Ready', 'True');
    await push();
    await assertServed();
    assert.deepEqual(await cache.life(), before);
  });

  it('goes on with the credentials that it has when their Secret is deleted, and says so', async () => {
    const before = await cache.life();
    await cache.kubectl('delete', 'secret', 'credentials');
    await cache.until('Ready', 'False', 'SecretMissing');
    await push();
    await assertServed();
    await credentials();
    await cache.until('Ready', 'True');
    assert.deepEqual(await cache.life(), before);
  });

  it('keeps its credentials as long as a server refuses to let go of the bucket', async () => {
    const both = { storages: [bucket(), { name: 'disk', local: {} }] };
    await cache.applied(both);
    const before = await cache.life();
    await cache.killOperator();
    await cache.forge({ bucket: 'Drained', disk: 'Ready' });
    await cache.apply({ storages: [{ name: 'disk', local: {} }] });
    await cache.operator.restart();
    await cache.until('Ready', 'False', 'ConfigRejected');
    await cache.looked();
    await assertServed();
    await cache.applied(both);
    assert.deepEqual(await cache.life(), before);
  });

  it('goes on without a bucket that is not there, and takes it once it is', async () => {
    const disk = { name: 'disk', local: {} };
    // What was moved out of a bucket stays there for an hour where it has given out URLs.
    const wrong = (mode: string) => {
      const { s3, ...rest } = bucket('wrong', 'not-yet');
      return { ...rest, mode, s3: { ...(s3 as object), reads: 'Proxy' } };
    };
    await cache.apply({ storages: [wrong('ReadWrite'), bucket(), disk] });
    const { message } = await cache.until('Ready', 'False', 'StorageUnavailable');
    assert.match(message, /^storage wrong: there is no bucket not-yet/);
    await push();
    await assertServed();
    await cache.replacePod();
    await assertServed();
    await s3.createBucket('not-yet');
    await cache.until('Ready', 'True');
    await push();
    assert.ok((await s3.keys('not-yet', 'main/objects/')).length > 0);
    await cache.applied({ storages: [wrong('Drain'), bucket(), disk] });
    await cache.untilStorage('wrong', 'Drained');
    await cache.applied({ storages: [bucket(), disk] });
    await assertServed();
  });

  it('leaves the bucket as it is when it is deleted with everything else', async () => {
    await cache.applied({ storages: [bucket(), { name: 'disk', local: {} }], reclaimPolicy: 'Delete' });
    const before = await s3.keys(BUCKET);
    await cache.kubectl('delete', 'bc', 'main');
    const left = async () => (await cache.kubectl('get', 'sts,pods,pvc,secrets', '-o', 'name')).trim();
    await until('all else is gone', async () => (await left()) === 'secret/credentials');
    assert.deepEqual(await s3.keys(BUCKET), before);
  });
});
