import assert from 'node:assert/strict';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { generateToken } from '../../crds/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { createUpload, isServed, partUrl, pushByCachix, pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';
import { exchange } from '../support/socket.ts';

const SECRET = 'only-in-root-key';

describe('an attack on the address', () => {
  let server: TestServer;
  let headers: Record<string, string>;
  before(async () => {
    server = await TestServer.start();
    headers = await server.auth();
    // Something to steal, beside the folder of objects.
    await writeFile(path.join(server.data, 'main', 'root.txt'), SECRET);
  });
  after(() => server.remove());

  const traversals = [
    '/../root.txt',
    '/nar/../../../root.txt',
    '/nar/..%2f..%2f..%2froot.txt',
    '/nar/%2e%2e/%2e%2e/%2e%2e/root.txt',
    '/nar/%2e%2e%2f%2e%2e%2froot.key',
    '/nar/....//....//root.txt',
    '/nar/..\\..\\root.txt',
    '/nar/..%5c..%5croot.txt',
    '/nar/%252e%252e%252froot.txt',
    '/nar/..;/root.txt',
    '/nar/.%00./root.txt',
    '/log/..%2f..%2froot.txt',
    '/log/%2e%2e%2froot.txt.drv',
    '/debuginfo/../../root.txt',
    '/%2froot.txt',
    '//etc/passwd',
    '/push/../../../../../../etc/passwd',
    '/push/nar/..%2f..%2froot.txt',
    '/api/v1/cache/main/../../../root.txt',
    '/api/v1/cache/main/nar/..%2froot.txt',
    '/api/v1/cache/..%2f..%2fetc/passwd',
    '/api/v1/cache/%2e%2e/nix-cache-info',
    '/%c0%ae%c0%ae/root.txt',
    '/nar/root.txt%00.nar',
    '/%00',
    '/%zz',
    '/%',
    '/..%2fmain%2froot.key.narinfo',
    '/?/../root.txt',
  ];
  for (const attack of traversals) {
    it(`finds nothing: ${JSON.stringify(attack)}`, async () => {
      for (const method of ['GET', 'HEAD', 'PUT', 'POST', 'DELETE']) {
        const init = method === 'PUT' || method === 'POST' ? { body: 'x' } : {};
        const { status, text } = await send(server.url, attack, { method, headers, ...init });
        assert.ok(status >= 400 && status < 500, `${method}: ${status}`);
        assert.doesNotMatch(text, new RegExp(`${SECRET}|root:`));
      }
    });
  }

  it('writes nothing outside of the storage', async () => {
    const names = await readdir(server.data, { recursive: true });
    assert.deepEqual(
      names.filter((name) => name.includes('objects/')),
      [],
    );
  });

  it('is refused when it is too long, and the server lives on', async () => {
    const long = await exchange(server.port, `GET /${'a'.repeat(100_000)} HTTP/1.1\r\nHost: x\r\n\r\n`);
    assert.deepEqual(long.statuses, [431]);
    const header = await exchange(server.port, `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${'a'.repeat(100_000)}\r\n\r\n`);
    assert.deepEqual(header.statuses, [431]);
    const many = Array.from({ length: 5000 }, (_, index) => `X-${index}: 1\r\n`).join('');
    const headersMany = await exchange(server.port, `GET / HTTP/1.1\r\nHost: x\r\n${many}\r\n`);
    assert.deepEqual(headersMany.statuses, [431]);
    assert.equal((await fetch(`${server.url}/nix-cache-info`)).status, 200);
  });

  /** Each tries to hide a second request from whoever stands before us. */
  const smuggled: Readonly<Record<string, string>> = {
    'a length and chunks':
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG',
    'two lengths': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'a length that is a list': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\nab',
    'a length with a sign': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na',
    'chunks under another name': 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    'chunks that are not last': 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
    'a space before the colon': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na',
    'a bare line feed': 'GET / HTTP/1.1\nHost: x\n\nGET /nix-cache-info HTTP/1.1\nHost: x\n\n',
    'a bare carriage return': 'GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 1\r\n\r\n',
    'a folded header': 'GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n Content-Length: 1\r\n\r\n',
    'a chunk size that overflows':
      'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n',
    'a NUL in a header': 'GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n',
    'no HTTP at all': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
  };
  for (const [what, bytes] of Object.entries(smuggled)) {
    it(`is refused and its connection closed: ${what}`, async () => {
      const { statuses } = await exchange(server.port, Buffer.from(bytes, 'latin1'));
      assert.equal(statuses.length, 1, `${statuses}`);
      assert.equal(statuses[0], 400);
    });
  }
});

describe('a client that is too slow', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start({
      args: ['--headers-timeout', '0.5', '--idle-timeout', '0.5', '--keep-alive-timeout', '0.5'],
    });
  });
  after(() => server.remove());

  it('is cut off while it says nothing', async () => {
    assert.ok((await exchange(server.port, '')).statuses.every((status) => status === 408));
  });

  it('is cut off in the middle of its headers', async () => {
    const { statuses } = await exchange(server.port, 'GET / HTTP/1.1\r\nHost: x\r\nX-Slow');
    assert.deepEqual(statuses, [408]);
  });

  it('is cut off though it sends a byte now and then, while its headers do not end', async () => {
    const socket = net.connect(server.port, '127.0.0.1');
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
    socket.on('error', () => {});
    socket.on('data', () => {});
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n');
    const drip = setInterval(() => socket.write('a: b\r\n'), 50);
    await closed;
    clearInterval(drip);
  });

  it('is cut off in the middle of its body, and leaves nothing behind', async () => {
    const it1 = makePath();
    const { authorization = '' } = await server.auth();
    const head = `PUT /push/${it1.narUrl} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Length: ${it1.file.length}\r\n\r\n`;
    await exchange(server.port, Buffer.concat([Buffer.from(head), it1.file.subarray(0, 10)]));
    const staging = path.join(server.data, 'main', 'storages', 'disk', '.staging');
    await until('the staged bytes are gone', async () => (await readdir(staging)).length === 0);
    await pushByPut(server, it1);
    assert.ok(await isServed(server, it1));
  });

  it('does not hold up the others', async () => {
    const idle = Array.from({ length: 200 }, () => exchange(server.port, 'GET / HTTP/1.1\r\nHost: x\r\nX-Slow'));
    assert.equal((await fetch(`${server.url}/nix-cache-info`)).status, 200);
    await Promise.all(idle);
  });
});

describe('a request id', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('is in the answer and in the log', async () => {
    const response = await fetch(`${server.url}/nix-cache-info`);
    const id = response.headers.get('x-request-id') ?? '';
    assert.match(id, /^[0-9a-f-]{36}$/);
    await until('it is logged', () => server.output.includes(`"requestId":"${id}"`));
  });

  it('is the one that a proxy gave, where it is harmless', async () => {
    const given = async (id: string) =>
      (await fetch(`${server.url}/nix-cache-info`, { headers: { 'x-request-id': id } })).headers.get('x-request-id');
    assert.equal(await given('proxy-1.2_3'), 'proxy-1.2_3');
    for (const bad of ['a b', 'x'.repeat(65), '"quoted"', 'a;b']) assert.notEqual(await given(bad), bad);
  });
});

describe('the log', () => {
  it('holds no token, no signing key, no root key and no part signature, whatever goes wrong', async () => {
    const listed = generateToken();
    const server = await TestServer.start({
      manifest: `${cacheManifest(
        'main',
        `access: Private\n${standardSpec}  - {name: listed, permissions: [Write], secretRef: {name: tokens, key: listed}}\n`,
      )}---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: tokens\nstringData:\n  listed: ${listed}\n`,
      args: ['--log-level', 'trace'],
    });
    try {
      const tokens = [listed, ...(await Promise.all(['read', 'push', 'admin'].map((name) => server.token(name))))];
      const wrong = 'nwl_wrong0wrong0wrong0';
      const it1: TestPath = makePath();
      await pushByPut(server, it1);
      await pushByCachix(server, makePath());
      const upload = await createUpload(server);
      const url = new URL(await partUrl(upload, 1, it1.file));
      const signature = url.searchParams.get('signature') ?? '';
      assert.ok(signature.length > 20);
      await send(server.url, `${url.pathname}${url.search}`, { method: 'PUT', body: 'other bytes' });
      await send(server.url, `${url.pathname}${url.search}x`, { method: 'PUT', body: 'other bytes' });
      for (const token of [...tokens, wrong]) {
        for (const authorization of [
          `Bearer ${token}`,
          `bearer  ${token}`,
          `Basic ${Buffer.from(`user:${token}`).toString('base64')}`,
          `Basic ${Buffer.from(`${token}:${token}`).toString('base64')}`,
          `Token ${token}`,
          token,
        ]) {
          for (const [method, target] of [
            ['GET', '/nix-cache-info'],
            ['GET', `/${it1.hashPart}.narinfo`],
            ['GET', `/${it1.narUrl}`],
            ['PUT', '/push/nix-cache-info'],
            ['PUT', `/push/${it1.hashPart}.narinfo`],
            ['POST', '/api/v1/cache/main/key'],
            ['POST', '/api/v1/cache/main/multipart-nar?compression=none'],
            ['GET', '/api/v1/user'],
          ] as const) {
            const body = method === 'GET' ? {} : { body: 'no narinfo' };
            await send(server.url, target, { method, headers: { authorization }, ...body });
          }
        }
        // In places where a credential does not belong.
        await send(server.url, `/nix-cache-info?token=${token}`);
        await send(server.url, '/nix-cache-info', { headers: { cookie: `token=${token}`, 'x-api-key': token } });
      }
      // A storage that is away makes the server log errors of its own.
      const disk = path.join(server.data, 'main', 'storages', 'disk');
      await rename(disk, `${disk}.away`);
      const headers = await server.auth();
      assert.equal((await send(server.url, `/${it1.narUrl}?token=${tokens[0]}`, { headers })).status, 503);
      await rename(`${disk}.away`, disk);
      await until('the failure is logged', () => server.output.includes('read failed'));
      const main = path.join(server.data, 'main');
      const [signing = ''] = await readdir(path.join(main, 'signing'));
      const keys = [
        (await readFile(path.join(main, 'root.key'), 'utf8')).trim(),
        (await readFile(path.join(main, 'signing', signing), 'utf8')).trim().split(':')[1] ?? '',
      ];
      await server.stop();
      for (const secret of [...tokens, wrong, signature, ...keys]) {
        assert.ok(secret.length > 20);
        for (const text of [secret, Buffer.from(`user:${secret}`).toString('base64'), encodeURIComponent(secret)])
          assert.equal(server.output.includes(text), false, `the log holds ${text.slice(0, 8)}...`);
      }
    } finally {
      await server.remove();
    }
  });
});
