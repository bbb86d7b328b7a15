import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { makePath } from '../support/nars.ts';
import { completeUpload, createUpload, isServed, pushByPut, sendPart } from '../support/push.ts';
import { TestServer, until } from '../support/server.ts';

describe('a server that is told to stop', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start();
  });
  afterEach(() => server.remove());

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`exits with 0 and folds the database's log away: ${signal}`, async () => {
      await pushByPut(server, makePath());
      assert.equal(await server.stop(signal), 0);
      const files = await readdir(path.join(server.data, 'main'));
      assert.ok(files.includes('db.sqlite'));
      assert.deepEqual(
        files.filter((name) => name.startsWith('db.sqlite-')),
        [],
      );
    });
  }

  it('exits with 0 when it is told twice', async () => {
    process.kill(server.pid, 'SIGTERM');
    assert.equal(await server.stop(), 0);
  });

  it('finishes a download that has begun, says that it is not ready, and takes no new connection', async () => {
    const it = makePath({ contents: randomBytes(40 * 2 ** 20), compression: 'none' });
    await pushByPut(server, it);
    const response = await fetch(`${server.url}/${it.narUrl}`);
    const reader = response.body?.getReader();
    assert.ok(reader !== undefined);
    let bytes = (await reader.read()).value?.length ?? 0;
    const ended = server.stop();
    await until('it stops', () => server.output.includes('stopping: requests in progress may finish'));
    await until('it takes no connection', () =>
      fetch(`${server.url}/nix-cache-info`).then(
        () => false,
        () => true,
      ),
    );
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) bytes += piece.value.length;
    assert.equal(bytes, it.file.length);
    assert.equal(await ended, 0);
  });

  it('finds everything again: paths, and uploads that go on', async () => {
    const published = makePath();
    await pushByPut(server, published);
    const it = makePath({ contents: randomBytes(100_000) });
    const upload = await createUpload(server);
    const half = it.file.length >> 1;
    const etags = [await sendPart(upload, 1, it.file.subarray(0, half))];
    assert.equal(await server.stop(), 0);
    await server.restart();
    assert.ok(await isServed(server, published));
    const resumed = { ...upload, url: upload.url.replace(/^http:\/\/[^/]+/, server.url) };
    etags.push(await sendPart(resumed, 2, it.file.subarray(half)));
    await completeUpload(resumed, it, etags);
    assert.ok(await isServed(server, it));
  });

  it('does not wait for clients longer than its grace: one that sends nothing, one in the middle of a body', async () => {
    await server.stop();
    await server.restart(['--shutdown-grace', '0.5']);
    const it = makePath({ contents: randomBytes(100_000) });
    const upload = await createUpload(server);
    await sendPart(upload, 1, it.file.subarray(0, 1000));
    const silent = net.connect(server.port, '127.0.0.1');
    const slow = net.connect(server.port, '127.0.0.1');
    for (const socket of [silent, slow]) socket.on('error', () => {});
    const { authorization } = await server.auth();
    slow.write(`PUT /push/${it.narUrl} HTTP/1.1\r\nHost: main.localhost\r\nAuthorization: ${authorization}\r\n`);
    slow.write(`Content-Length: ${it.file.length}\r\n\r\n`);
    slow.write(it.file.subarray(0, 1000));
    await until('the body is received', async () =>
      /narwhal_push_bodies{state="active"} 1/.test(await (await fetch(`${server.adminUrl}/metrics`)).text()),
    );
    const started = Date.now();
    assert.equal(await server.stop(), 0);
    // The limit of an idle body would have ended it after a minute.
    assert.ok(Date.now() - started < 40_000, `${Date.now() - started} ms`);
  });
});
