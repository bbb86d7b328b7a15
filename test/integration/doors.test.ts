// What once ended a process, or came close to it, at each door; the rest is found by doors-fuzz.test.ts.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import net from 'node:net';
import { promisify } from 'node:util';
import { TestGateway } from '../support/gateway.ts';
import { TestServer, until } from '../support/server.ts';
import { exchange } from '../support/socket.ts';

const API = '/api/v1/cache/main';
const CLOSE = 'Host: main.localhost\r\nConnection: close\r\n';

describe('doors', () => {
  let server: TestServer;
  let gateway: TestGateway;
  let token: string;
  before(async () => {
    server = await TestServer.start();
    gateway = await TestGateway.start({ table: { caches: { main: { url: server.url } } } });
    token = await server.token();
  });
  after(async () => {
    await gateway.remove();
    await server.remove();
  });

  const portOf = (url: string) => Number(new URL(url).port);
  const admins = () => [portOf(server.adminUrl), portOf(gateway.adminUrl)];
  const assertAlive = async () => {
    for (const url of [server.adminUrl, gateway.adminUrl]) assert.equal((await fetch(`${url}/livez`)).status, 200);
  };
  afterEach(assertAlive);

  const targets: readonly (readonly [target: string, admin: number, main: number])[] = [
    ['//', 404, 404],
    ['//[', 404, 404],
    ['http://', 404, 404],
    ['http://[::1/livez', 200, 404],
    ['http://x:99999/livez?verbose', 200, 404],
    ['*', 404, 404],
    ['/%', 404, 404],
    ['//nix-cache-info', 404, 200],
    ['http://x:y/nix-cache-info?a=b', 404, 200],
  ];
  for (const [target, admin, main] of targets)
    it(`answer ${target}`, async () => {
      const bytes = `GET ${target} HTTP/1.1\r\n${CLOSE}\r\n`;
      for (const port of admins()) assert.deepEqual((await exchange(port, bytes)).statuses, [admin]);
      for (const { port } of [server, gateway]) {
        const { statuses } = await exchange(port, bytes);
        // Node's parser knows a target that is none, and * for OPTIONS alone.
        assert.ok(statuses[0] === main || (statuses[0] === 400 && main === 404), `${statuses}`);
      }
    });

  it('read the query of a target in absolute form', async () => {
    const bytes = `POST http://x:y${API}/multipart-nar?compression=lzma HTTP/1.1\r\n${CLOSE}Authorization: Bearer ${token}\r\nContent-Length: 0\r\n\r\n`;
    for (const { port } of [server, gateway]) {
      const { text } = await exchange(port, bytes);
      assert.match(text, /^HTTP\/1\.1 400 [\s\S]*compression: expected xz or zst\n$/);
    }
  });

  it('of a gateway close a connection on which a WebSocket is asked for behind an answer that is not out', async () => {
    const ask = `GET ${API}/nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n`;
    const upgrade = 'GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
    await exchange(gateway.port, ask + upgrade);
  });

  for (const answer of ['HTTP/1.1 200 O\x10\r\nContent-Length: 0\r\n\r\n', 'HTTP/1.1 099 x\r\n\r\n'])
    it(`of a gateway outlive what no writer writes: ${JSON.stringify(answer)}`, async () => {
      const bad = net.createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', () => socket.end(answer, 'latin1'));
      });
      await new Promise<void>((resolve) => bad.listen(0, '127.0.0.1', resolve));
      try {
        const url = `http://127.0.0.1:${(bad.address() as net.AddressInfo).port}`;
        await gateway.useTable({ caches: { bad: { url }, main: { url: server.url } } });
        for (const method of ['GET', 'PUT']) {
          const bytes = `${method} /api/v1/cache/bad/x HTTP/1.1\r\n${CLOSE}Content-Length: 0\r\n\r\n`;
          const { statuses } = await exchange(gateway.port, bytes);
          assert.deepEqual(statuses, [answer.includes(' 200 ') ? 200 : 502]);
        }
      } finally {
        await new Promise((resolve) => bad.close(resolve));
      }
    });

  for (const [which, port] of [
    ['server', () => server.port],
    ['gateway', () => gateway.port],
  ] as const)
    it(`of a ${which} take connections again after all descriptors were in use`, async () => {
      const pid = which === 'server' ? server.pid : gateway.pid;
      const open = (await readdir(`/proc/${pid}/fd`)).length;
      const limit = (soft: string) => promisify(execFile)('prlimit', ['--pid', String(pid), `--nofile=${soft}:`]);
      const before = (
        await promisify(execFile)('prlimit', ['--pid', String(pid), '--nofile', '--noheadings', '-o', 'SOFT'])
      ).stdout.trim();
      await limit(String(open + 10));
      const sockets = Array.from({ length: 100 }, () => net.connect(port(), '127.0.0.1').on('error', () => {}));
      try {
        await until('the descriptors are in use', async () => (await readdir(`/proc/${pid}/fd`)).length >= open + 9);
        await Promise.all(
          sockets.map(
            (socket) =>
              new Promise((resolve) =>
                socket.connecting ? socket.once('connect', resolve).once('close', resolve) : resolve(undefined),
              ),
          ),
        );
      } finally {
        await limit(before);
        for (const socket of sockets) socket.destroy();
      }
      await until('it answers', async () => {
        const { statuses } = await exchange(port(), `GET ${API}/nix-cache-info HTTP/1.1\r\n${CLOSE}\r\n`);
        return statuses[0] === 200;
      });
    });
});
