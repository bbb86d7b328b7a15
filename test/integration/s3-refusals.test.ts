import assert from 'node:assert/strict';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { makePath } from '../support/nars.ts';
import { describeWith } from '../support/needs.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy, s3Error } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';

const BUCKET = 'narwhal';
const FAST = ['--storage-retry', '0.1', '--transient-retry', '0.5'];

describeWith('versitygw', 'a storage in S3 that cannot be used', () => {
  let s3: S3Server;
  const servers: TestServer[] = [];
  before(async () => {
    s3 = await S3Server.start({ region: 'eu-central-1' });
    await s3.createBucket(BUCKET);
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.remove();
  });
  after(() => s3.remove());

  async function start(manifest: string): Promise<TestServer> {
    const server = await TestServer.start({ manifest, args: FAST });
    servers.push(server);
    return server;
  }
  const manifest = (fields: Readonly<Record<string, unknown>>, endpoint = s3.endpoint) =>
    s3Manifest(s3, [s3Storage('bucket', BUCKET, endpoint, { region: 'eu-central-1', ...fields })]);
  const lines = (error: unknown) =>
    String(error)
      .split('\n')
      .filter((line) => line.startsWith('narwhal-server: '));

  const cases: [string, () => string, RegExp][] = [
    ['a bucket that is not there', () => manifest({ bucket: 'another' }), /there is no bucket another at http/],
    [
      'an access key that nobody knows',
      () => manifest({}).replaceAll(s3.accessKeyId, 'NOBODY'),
      /does not know the access key; check the Secret of credentialsSecretRef/,
    ],
    [
      'a wrong secret key',
      () => manifest({}).replaceAll(s3.secretAccessKey, 'wrong'),
      /says that the secret access key is wrong; check the Secret of credentialsSecretRef/,
    ],
    [
      'another region',
      () => manifest({ region: 'us-west-2' }),
      /the bucket narwhal is in region eu-central-1, the manifest says us-west-2/,
    ],
    [
      'https where the service speaks http',
      () => manifest({}, s3.endpoint.replace('http:', 'https:')),
      /does not speak TLS; write http:\/\/ in the endpoint/,
    ],
    ['nobody at its address', () => manifest({}, 'http://127.0.0.1:9'), /cannot be reached: ECONNREFUSED/],
  ];
  for (const [name, text, message] of cases) {
    it(`is refused at the first start, in one line: ${name}`, async () => {
      await assert.rejects(start(text()), (error) => {
        const [line = '', ...more] = lines(error);
        assert.match(line, /^narwhal-server: cache main: storage bucket: /);
        assert.match(line, message);
        assert.deepEqual(more, []);
        return true;
      });
    });
  }

  it('is refused where the clocks differ', async () => {
    const proxy = await S3Proxy.start(s3.endpoint);
    proxy.fate = () => s3Error(403, 'RequestTimeTooSkewed');
    await assert.rejects(start(manifest({}, proxy.endpoint)), /clock of this machine .* more than 15 minutes/);
    await proxy.close();
  });

  it('is refused where another cache has the prefix, by the name of that cache', async () => {
    await start(manifest({ prefix: 'shared' }));
    await assert.rejects(
      start(manifest({ prefix: 'shared' }).replace('name: main', 'name: other')),
      /storage bucket: s3:\/\/narwhal\/shared at \S+ belongs to another cache or storage: cache main \(id \S+\), storage bucket/,
    );
  });

  it('is refused where the prefix is new and holds something else', async () => {
    await s3.client().send(new PutObjectCommand({ Bucket: BUCKET, Key: 'theirs/thesis.tex', Body: 'x' }));
    await assert.rejects(
      start(manifest({ prefix: 'theirs' })),
      /s3:\/\/narwhal\/theirs at \S+ is new to this cache and not empty \(it has theirs\/thesis.tex\); give the storage a prefix/,
    );
  });

  it('shows in readyz where it was fine before, and pushes go elsewhere', async () => {
    const disk = '  - {name: disk, local: {}}\n';
    const text = (bucket: string) =>
      s3Manifest(s3, [s3Storage('bucket', bucket, s3.endpoint, { region: 'eu-central-1', prefix: 'fine' }), disk]);
    const server = await start(text(BUCKET));
    await server.stop();
    await server.writeManifest(text(BUCKET).replaceAll(s3.secretAccessKey, 'wrong'));
    await server.restart();
    const readyz = await fetch(`${server.adminUrl}/readyz?verbose`);
    assert.equal(readyz.status, 200);
    assert.match(await readyz.text(), /\[!\] cache main storage bucket: .* secret access key is wrong/);
    const it = makePath();
    await pushByPut(server, it);
    assert.ok(await isServed(server, it));
    await server.writeManifest(text(BUCKET));
    await until('it is back', async () =>
      /\[\+\] cache main storage bucket: /.test(await (await fetch(`${server.adminUrl}/readyz?verbose`)).text()),
    );
  });

  it('is not taken for another one whose bytes are elsewhere', async () => {
    const server = await start(manifest({ prefix: 'one' }));
    await server.writeManifest(manifest({ prefix: 'two' }));
    await until('the change is refused', async () =>
      /storage bucket lies in s3:\/\/narwhal\/one at \S+; to move it/.test(
        await (await fetch(`${server.adminUrl}/readyz?verbose`)).text(),
      ),
    );
  });

  it('cannot turn into a folder under the same name', async () => {
    const server = await start(manifest({ prefix: 'kind' }));
    await server.stop();
    await server.writeManifest(s3Manifest(s3, ['  - {name: bucket, local: {}}\n']));
    await assert.rejects(
      server.restart(),
      /storage bucket is of the kind s3; add one of the kind local under another name/,
    );
  });
});
