import assert from 'node:assert/strict';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import type { Pod } from '../support/pod.ts';
import { podKeys, podManifest, podSecrets, removePod, startPod } from '../support/pod-keys.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Storage } from '../support/s3-cache.ts';
import { until } from '../support/server.ts';

describeWith('versitygw', 'mounted credentials of S3', () => {
  let s3: S3Server;
  let pod: Pod;
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket('narwhal');
  });
  afterEach(() => removePod(pod));
  after(() => s3.remove());

  it('rotate without a restart', async () => {
    const { accessKeyId, secretAccessKey } = s3;
    const storage = s3Storage('bucket', 'narwhal', s3.endpoint, { reads: 'Proxy' });
    pod = await startPod({
      manifest: podManifest(podKeys, storage),
      secrets: { ...podSecrets, s3: { accessKeyId, secretAccessKey } },
    });
    const it = makePath();
    await pushByPut(pod.server, it);
    const state = async () => (await pod.status()).caches[0]?.storages[0]?.state;
    await pod.setSecret('s3', { accessKeyId, secretAccessKey: 'another-secret-that-is-not-right' });
    await until('it is ill', async () => (await state()) === 'Unavailable');
    await pod.setSecret('s3', { accessKeyId, secretAccessKey });
    await until('it is well', async () => (await state()) === 'Ready');
    assert.ok(await isServed(pod.server, it));
    assert.ok(!pod.server.output.includes(secretAccessKey));
  });
});
