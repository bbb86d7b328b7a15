import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { createUpload, isServed, partUrl, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';

const BUCKET = 'narwhal';

describeWith('versitygw', 'a storage in S3', () => {
  let s3: S3Server;
  let proxy: S3Proxy;
  let folder: string;
  let server: TestServer | undefined;

  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
    proxy = await S3Proxy.start(s3.endpoint);
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-credentials-'));
  });
  afterEach(async () => {
    await server?.remove();
    server = undefined;
    proxy.fate = () => undefined;
  });
  after(async () => {
    await proxy.close();
    await s3.remove();
    await rm(folder, { recursive: true, force: true });
  });

  it('takes its credentials from where the SDK looks, and signs URLs no longer than they live', async () => {
    const { accessKeyId, secretAccessKey } = s3;
    const Expiration = new Date(Date.now() + 1800_000).toISOString();
    const credentials = path.join(folder, 'credentials');
    await writeFile(
      credentials,
      `#!/bin/sh\necho '${JSON.stringify({ Version: 1, AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Expiration })}'\n`,
    );
    await chmod(credentials, 0o700);
    const config = path.join(folder, 'config');
    await writeFile(config, `[default]\ncredential_process = ${credentials}\n`);
    const storage = s3Storage('bucket', BUCKET, s3.endpoint, { prefix: 'chain', credentialsSecretRef: undefined });
    server = await TestServer.start({
      manifest: s3Manifest(s3, [storage]),
      env: { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: '/dev/null', AWS_EC2_METADATA_DISABLED: 'true' },
    });
    for (const push of [pushByPut, pushByCachix]) {
      const it = makePath();
      await push(server, it);
      assert.ok(await isServed(server, it));
    }
    const url = new URL(await partUrl(await createUpload(server), 1, Buffer.from('part')));
    const seconds = Number(url.searchParams.get('X-Amz-Expires'));
    assert.ok(seconds > 1000 && seconds <= 1800, `${seconds} s`);
    assert.match(server.output, /the S3 credentials end on \S+: URLs live no longer than that/);
  });

  it('rotates credentials without a restart', async () => {
    const text = s3Manifest(s3, [s3Storage('bucket', BUCKET, s3.endpoint, { prefix: 'rotated', reads: 'Proxy' })]);
    const rotating = await TestServer.start({ manifest: text, args: ['--storage-retry', '0.1'] });
    server = rotating;
    const it = makePath();
    await pushByPut(rotating, it);
    await rotating.writeManifest(text.replaceAll(s3.secretAccessKey, 'another-secret-that-is-not-right'));
    await until('the change is applied', () => rotating.output.includes('the changed manifests are applied'));
    await until('it is ill', async () =>
      /storage bucket: .*secret access key is wrong/.test(
        await (await fetch(`${rotating.adminUrl}/readyz?verbose`)).text(),
      ),
    );
    await rotating.writeManifest(text);
    await until('its NAR is served again', () => isServed(rotating, it).catch(() => false));
    assert.ok(!rotating.output.includes(s3.secretAccessKey));
  });

  it('holds up no other one when it does not answer at all', async () => {
    const disk = '  - {name: disk, local: {}}\n';
    server = await TestServer.start({
      manifest: s3Manifest(s3, [disk, s3Storage('bucket', BUCKET, proxy.endpoint, { prefix: 'slow' })]),
      args: ['--storage-retry', '0.05', '--housekeeping-interval', '0.05'],
    });
    proxy.fate = () => ({ status: 'hang', forward: false });
    for (const push of [pushByPut, pushByCachix]) {
      const it = makePath();
      await push(server, it);
      assert.ok(await isServed(server, it));
    }
    assert.equal((await fetch(`${server.adminUrl}/readyz?verbose`)).status, 200);
  });
});
