/** What `npm start` runs is not what other tests run: the compiler's output, once with a bucket. */
import assert from 'node:assert/strict';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { TestServer } from '../support/server.ts';

describeWith('versitygw', 'the built server with S3', () => {
  let s3: S3Server;
  let server: TestServer;
  before(async () => {
    s3 = await S3Server.start();
    await s3.createBucket('built');
    const manifest = s3Manifest(s3, [s3Storage('bucket', 'built', s3.endpoint)]);
    server = await TestServer.start({ built: true, manifest });
  });
  after(async () => {
    await server?.remove();
    await s3?.remove();
  });

  for (const [name, push] of Object.entries({ pushByPut, pushByCachix })) {
    it(`takes a path and serves it (${name})`, async () => {
      const path = makePath({ name });
      await push(server, path);
      assert.ok(await isServed(server, path));
    });
  }
});
