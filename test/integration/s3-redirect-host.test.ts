// nix sends the password of a host to that host whoever leads there: what becomes of a cache's token at a redirect to S3.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { S3Server } from '../support/s3.ts';
import { s3Manifest, s3Storage } from '../support/s3-cache.ts';
import { S3Proxy } from '../support/s3-proxy.ts';
import { TestServer, until } from '../support/server.ts';

const BUCKET = 'narwhal';

await describeEachNix('a token and a redirect to S3', (nix) => {
  let dir: string;
  let s3: S3Server;
  let proxy: S3Proxy;
  let server: TestServer;
  let clients = 0;
  let storePath: string;
  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'narwhal-redirects-'));
    s3 = await S3Server.start();
    await s3.createBucket(BUCKET);
    proxy = await S3Proxy.start(s3.endpoint);
    server = await TestServer.start({
      manifest: s3Manifest(s3, [s3Storage('bucket', BUCKET, proxy.endpoint)], 'access: Private\n'),
      args: ['--api-url', 'http://127.0.0.1'],
    });
    await using client = newClient();
    storePath = await client.addTree('text', Buffer.from(nix.label));
    await client.copyTo(`${server.api()}/push`, [storePath], { netrc: await netrcOf('machine 127.0.0.1', 'push') });
  });
  after(async () => {
    await server?.remove();
    await proxy?.close();
    await s3?.remove();
    await rm(dir, { recursive: true, force: true });
  });

  function newClient(): NixClient & AsyncDisposable {
    const client = new NixClient({ version: nix, dir: path.join(dir, `client-${++clients}`) });
    return Object.assign(client, { [Symbol.asyncDispose]: () => client.remove() });
  }

  async function netrcOf(who: string, token: string): Promise<string> {
    const file = path.join(dir, `netrc-${++clients}`);
    await writeFile(file, `${who} login anybody password ${await server.token(token)}\n`, { mode: 0o600 });
    return file;
  }

  /** What S3 was sent for a pull of the path, the signed URL left out. */
  async function credentialsAtS3(who: string): Promise<(string | undefined)[]> {
    await using client = newClient();
    proxy.reset();
    const trust = { trustedKeys: [await server.publicKey()], netrc: await netrcOf(who, 'read') };
    await client.realise([storePath], { substituters: [server.api()], ...trust });
    const seen = proxy.seen.filter(
      ({ operation, url }) => operation === 'GetObject' && url.includes('X-Amz-Signature'),
    );
    assert.ok(seen.length > 0, 'nix has followed the redirect');
    return [...new Set(seen.map(({ headers }) => headers.authorization))];
  }

  const verbose = async () => (await fetch(`${server.adminUrl}/readyz?verbose`)).text();
  const WARNING = /redirected to 127\.0\.0\.1, which is a host of this cache: nix sends the cache's token there too/;

  it('go on together where the host names are equal, of which the server warns', async () => {
    const [authorization] = await credentialsAtS3('machine 127.0.0.1');
    const sent = Buffer.from(authorization?.replace(/^Basic /, '') ?? '', 'base64').toString();
    assert.equal(sent, `anybody:${await server.token('read')}`);
    assert.match(server.output, new RegExp(`"level":40.*"cache":"main","storage":"bucket".*${WARNING.source}`));
    assert.match(
      await verbose(),
      new RegExp(`^\\[!\\] cache main redirects of storage bucket: .*${WARNING.source}`, 'm'),
    );
    assert.match(await verbose(), /^ready$/m);
  });

  it('part where the service has a name of its own, and the warning ends; a default entry goes everywhere', async () => {
    const endpoint = proxy.endpoint.replace('127.0.0.1', 'localhost');
    const storage = s3Storage('bucket', BUCKET, proxy.endpoint, { publicEndpoint: endpoint });
    await server.writeManifest(s3Manifest(s3, [storage], 'access: Private\n'));
    await until('the change is applied', async () => !WARNING.test(await verbose()));
    assert.deepEqual(await credentialsAtS3('machine 127.0.0.1'), [undefined]);
    const [authorization] = await credentialsAtS3('default');
    assert.match(authorization ?? '', /^Basic /);
  });
});
