// Clients and servers that break off at any moment: nothing of it may be left in a gateway.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import http from 'node:http';
import { TestGateway } from '../support/gateway.ts';
import { until } from '../support/server.ts';
import { Upstream } from '../support/upstream.ts';

const REQUESTS = process.env.NARWHAL_LONG === '1' ? 20_000 : 1500;
const AT_ONCE = 30;

const chance = (share: number) => Math.random() < share;
const soon = (work: () => void) => void setTimeout(work, Math.random() * 10);

describe('a gateway between clients and servers that break off', () => {
  let upstream: Upstream;
  let gateway: TestGateway;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });

  before(async () => {
    // Idle connections end while they are wanted.
    upstream = await Upstream.start(answer, { keepAliveTimeout: 50 });
    upstream.upgrade = (_, socket) => {
      if (chance(0.3)) socket.destroy();
      else socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello');
      socket.pipe(socket);
      soon(() => socket.end());
    };
    const caches = { main: { url: upstream.url }, dead: { url: 'http://127.0.0.1:1' } };
    gateway = await TestGateway.start({ table: { caches }, args: ['--connect-wait', '0.5', '--log-level', 'info'] });
  });
  after(async () => {
    agent.destroy();
    await gateway.remove();
    await upstream.close();
  });

  function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const fate = Math.random();
    if (fate < 0.1) request.socket.destroy();
    else if (fate < 0.2) {
      response.writeHead(413, { 'Content-Length': 3 }).end('no\n');
      request.resume();
    } else if (fate < 0.3) {
      response.writeHead(200, { 'Content-Length': 1_000_000 }).write(Buffer.alloc(1000));
      soon(() => response.destroy());
    } else if (fate < 0.4) response.end('early');
    else {
      request.resume().on('end', () => {
        response.write(Buffer.alloc(Math.random() * 300_000));
        soon(() => response.end());
      });
    }
  }

  /** One request of any kind, which ends in any way. */
  function ask(): Promise<void> {
    const isSocket = chance(0.1);
    const method = isSocket ? 'GET' : (['GET', 'HEAD', 'PUT', 'POST'] as const)[Math.floor(Math.random() * 4)];
    const request = http.request({
      host: '127.0.0.1',
      port: gateway.port,
      path: `/api/v1/cache/${chance(0.05) ? 'dead' : 'main'}/x`,
      method: method ?? 'GET',
      agent: chance(0.5) ? agent : false,
      headers: {
        ...(isSocket && { connection: 'Upgrade', upgrade: 'websocket' }),
        ...(chance(0.2) && { expect: '100-continue' }),
      },
    });
    const ended = new Promise<void>((resolve) => {
      request.on('error', () => resolve());
      request.on('upgrade', (_, socket) => {
        socket.on('error', () => {});
        socket.on('close', () => resolve());
        socket.resume().write('a text');
        if (chance(0.5)) soon(() => socket.destroy());
      });
      request.on('response', (response) => {
        response.on('error', () => {});
        response.on('close', () => resolve());
        response.resume();
        if (chance(0.2)) soon(() => response.destroy());
      });
    });
    if (method === 'PUT' || method === 'POST')
      for (let piece = Math.random() * 10; piece > 0; piece--) request.write(Buffer.alloc(Math.random() * 100_000));
    if (chance(0.1)) soon(() => request.destroy());
    else request.end();
    return ended;
  }

  it('lives on, and keeps no request, no connection and no open file', async () => {
    const files = async () => (await readdir(`/proc/${gateway.pid}/fd`)).length;
    const before = await files();
    let left = REQUESTS;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (left-- > 0) await ask();
      }),
    );
    agent.destroy();
    for (const series of [
      'narwhal_gateway_active_requests{cache="main"}',
      'narwhal_gateway_active_requests{cache="dead"}',
      'narwhal_gateway_websockets',
      'narwhal_gateway_connections',
    ])
      await until(`${series} is 0`, async () => (await gateway.metric(series)) === 0);
    // Idle connections to servers are kept; these servers end theirs.
    await until('its files are closed', async () => (await files()) <= before + 5);
    assert.equal(await gateway.stop(), 0);
  }).timeout(process.env.NARWHAL_LONG === '1' ? 600_000 : 120_000);
});
