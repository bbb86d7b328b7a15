// Hosts that are the address of one cache, as the name of a Service is.
import assert from 'node:assert/strict';
import { makePath } from '../support/nars.ts';
import { LISTING } from '../support/nix-path.ts';
import { createUpload, pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const SERVICE = 'main.team.svc';
const INGRESS = 'nix.example.com';

describe('a host that is one cache', () => {
  let server: TestServer;
  const path = makePath();
  before(async () => {
    server = await TestServer.start({
      manifest: [cacheManifest('main', standardSpec), cacheManifest('other', standardSpec)].join('---\n'),
      args: [
        ...['--api-url', 'https://cache.example.org', '--trusted-proxies', '127.0.0.1'],
        ...['--alias', 'team.svc', `main=${SERVICE}:8080`, `other=https://${INGRESS}`],
      ],
    });
    await pushByPut(server, path);
  });
  after(() => server.remove());

  const info = async (host: string, where = '/api/v1/cache/main', headers = {}) =>
    JSON.parse((await send(server.url, where, { headers: { host, ...headers } })).text) as {
      uri: string;
      name: string;
    };

  it('has the paths of nix at its root', async () => {
    for (const host of [SERVICE, `${SERVICE}:8080`, `${SERVICE.toUpperCase()}.`]) {
      assert.equal((await send(server.url, '/nix-cache-info', { headers: { host } })).status, 200, host);
      assert.equal((await send(server.url, `/${path.hashPart}.narinfo`, { headers: { host } })).status, 200, host);
    }
    const other = { headers: { host: INGRESS } };
    assert.equal((await send(server.url, `/${path.hashPart}.narinfo`, other)).status, 404);
    assert.equal((await send(server.url, '/nix-cache-info', other)).status, 200);
  });

  it('is where its pull URL leads, in the scheme that the client used', async () => {
    assert.equal((await info(SERVICE)).uri, `http://${SERVICE}:8080`);
    assert.equal((await info(SERVICE, undefined, { 'x-forwarded-proto': 'https' })).uri, `https://${SERVICE}:8080`);
    assert.equal((await info(INGRESS, '/api/v1/cache/other')).uri, `https://${INGRESS}`);
  });

  it('is the API host too, also of other caches, which have their usual pull URL', async () => {
    assert.equal((await info(INGRESS)).uri, 'https://main.cache.example.org');
    const { url, uploadId, headers } = await createUpload(server);
    const part = await send(url, `?partNumber=1&uploadId=${uploadId}`, {
      method: 'POST',
      headers: { ...headers, host: SERVICE },
      body: JSON.stringify({ contentMD5: '1B2M2Y8AsgTpgAmY7PhCfg==' }),
    });
    const { uploadUrl } = JSON.parse(part.text) as { uploadUrl: string };
    assert.ok(uploadUrl.startsWith(`http://${SERVICE}:8080/api/v1/cache/main/multipart-nar/`), uploadUrl);
    const user = await send(server.url, '/api/v1/user', { headers: { ...headers, host: SERVICE } });
    assert.equal(user.status, 200);
  });

  it('takes pushes below /push, and says where when they come elsewhere', async () => {
    const headers = { host: SERVICE, ...(await server.auth()) };
    const init = { method: 'PUT', body: LISTING, headers };
    assert.equal((await send(server.url, `/push/${path.hashPart}.ls`, init)).status, 200);
    const refused = await send(server.url, `/${path.hashPart}.ls`, init);
    assert.equal(refused.status, 405);
    assert.match(refused.text, /nix copy --to 'http:\/\/main\.team\.svc:8080\/push\?compression=zstd'/);
  });

  it('wins over a shorter one, below which caches have their names', async () => {
    assert.equal((await info('team.svc')).uri, 'http://main.team.svc');
    assert.equal((await info('other.team.svc', '/api/v1/cache/other')).uri, 'http://other.team.svc');
    // Deeper is not the cache's own host any more.
    assert.equal((await send(server.url, '/nix-cache-info', { headers: { host: `pod-0.${SERVICE}` } })).status, 404);
  });
});

describe('a host that a manifest names', () => {
  const withIngress = (ingress: string) =>
    [cacheManifest('main', `${standardSpec}ingress: ${ingress}\n`), cacheManifest('other', standardSpec)].join('---\n');
  let server: TestServer;
  before(async () => {
    const args = ['--api-url', 'https://cache.example.org', '--alias', 'other=http://other.svc'];
    server = await TestServer.start({ manifest: withIngress('{host: nix.example.com, tlsSecretName: tls}'), args });
  });
  after(() => server.remove());

  const uriAt = async (host: string) => {
    const { status, text } = await send(server.url, '/api/v1/cache/main', { headers: { host } });
    assert.equal(status, 200, text);
    return (JSON.parse(text) as { uri: string }).uri;
  };
  const isAtRoot = async (host: string) =>
    (await send(server.url, '/nix-cache-info', { headers: { host } })).status === 200;

  it('is the address of its cache', async () => {
    assert.equal(await uriAt('nix.example.com'), 'https://nix.example.com');
    assert.equal(await isAtRoot('nix.example.com'), true);
  });

  it('is another as soon as the manifest says so, without a restart', async () => {
    await server.writeManifest(withIngress('{host: new.example.com}'));
    await until('the new host', () => isAtRoot('new.example.com'));
    assert.equal(await uriAt('new.example.com'), 'http://new.example.com');
    assert.equal(await isAtRoot('nix.example.com'), false);
  });

  it('takes none of the hosts that the flags name', async () => {
    for (const host of ['other.svc', 'cache.example.org', 'other.cache.example.org']) {
      await server.writeManifest(withIngress(`{host: ${host}}`));
      await until('the host before is gone', async () => !(await isAtRoot('new.example.com')));
      assert.equal(await uriAt(host), 'https://main.cache.example.org');
      await server.writeManifest(withIngress('{host: new.example.com}'));
      await until('the host of before', () => isAtRoot('new.example.com'));
    }
  });
});
