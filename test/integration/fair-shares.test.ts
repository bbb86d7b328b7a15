import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { isServed, pushByCachix, pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { cacheManifest, standardSpec, TestServer, until } from '../support/server.ts';

const TWO = [cacheManifest('main', standardSpec), cacheManifest('other', standardSpec)].join('---\n');
/** One machine, many clients: it is its own proxy. */
const CLIENTS = ['--trusted-proxies', '127.0.0.1'];
const big = makePath({ contents: randomBytes(20 * 2 ** 20), compression: 'none' });

/** A series of a server; 0 where there is none. */
async function metric(server: TestServer, series: string): Promise<number> {
  const text = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const line = text.split('\n').find((it) => it.startsWith(`${series} `));
  return Number(line?.slice(series.length) ?? 0);
}

/** Writes the head of a request and the beginning of its body, and reads nothing. */
class Stalled {
  readonly socket: net.Socket;
  /** All that came back so far. */
  text = '';
  /** When the server closes the connection. */
  readonly ended: Promise<void>;

  constructor(port: number, head: readonly string[], body: Uint8Array | string = '', isRead = true) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('error', () => {});
    if (isRead)
      this.socket.setEncoding('latin1').on('data', (piece: string) => {
        this.text += piece;
      });
    else this.socket.pause();
    this.ended = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.write(`${head.join('\r\n')}\r\n\r\n`);
    this.socket.write(body);
  }

  close(): void {
    this.socket.destroy();
  }
}

async function stalledPush(server: TestServer, client: string, cache = 'main'): Promise<Stalled> {
  const it = makePath({ contents: randomBytes(200_000) });
  const { authorization = '' } = await server.auth('push', cache);
  const head = [
    `PUT /push/${it.narUrl} HTTP/1.1`,
    ...[`Host: ${cache}.localhost`, `Authorization: ${authorization}`, `X-Forwarded-For: ${client}`],
    `Content-Length: ${it.file.length}`,
  ];
  return new Stalled(server.port, head, it.file.subarray(0, 1000));
}

function stalledPull(port: number, client: string, it: TestPath): Stalled {
  const head = [`GET /${it.narUrl} HTTP/1.1`, 'Host: main.localhost', `X-Forwarded-For: ${client}`];
  return new Stalled(port, head, '', false);
}

/** A server as a client at another address sees it. */
function from(server: TestServer, client: string, cache = 'main') {
  return {
    url: server.url,
    api: (name = cache) => server.api(name),
    auth: async (token = 'push', name = cache) => ({ ...(await server.auth(token, name)), 'x-forwarded-for': client }),
  };
}

describe('bodies of pushes that stand still', () => {
  let server: TestServer;
  let stalled: Stalled[];
  before(async () => {
    const args = [...CLIENTS, '--max-push-bodies', '3', '--stall-time', '1'];
    server = await TestServer.start({ manifest: TWO, args });
  });
  beforeEach(async () => {
    stalled = await Promise.all([1, 2, 3].map(() => stalledPush(server, '192.0.2.1')));
    await until('they are received', async () => (await metric(server, 'narwhal_push_bodies{state="active"}')) === 3);
  });
  afterEach(async () => {
    for (const it of stalled) it.close();
    await until('they are gone', async () => (await metric(server, 'narwhal_push_bodies{state="active"}')) === 0);
  });
  after(() => server.remove());

  it('do not block pushes to another cache', async () => {
    const it = makePath();
    await pushByPut(from(server, '192.0.2.1'), it, { cache: 'other' });
    assert.ok(await isServed(server, it, 'other'));
  });

  it('do not block those of another client to the same', async () => {
    const it = makePath();
    await pushByCachix(from(server, '192.0.2.2'), it);
    assert.ok(await isServed(server, it));
  });

  it('leave what comes free to a stranger first', async () => {
    const mine = await Promise.all([1, 2, 3].map(() => stalledPush(server, '192.0.2.1')));
    await until('they wait', async () => (await metric(server, 'narwhal_push_bodies{state="waiting"}')) === 3);
    const it = makePath();
    await pushByPut(from(server, '192.0.2.9'), it);
    for (const one of mine) one.close();
  });
});

describe('a body that comes too slowly', () => {
  let server: TestServer;
  before(async () => {
    const args = ['--min-body-rate', '1000', '--body-rate-time', '0.5', '--idle-timeout', '20'];
    server = await TestServer.start({ args });
  });
  after(() => server.remove());

  it('is refused with a text, though it never stops coming', async () => {
    const slow = await stalledPush(server, '192.0.2.1');
    const trickle = setInterval(() => slow.socket.write('x'), 50);
    try {
      await until('it is answered', () => slow.text.endsWith('\n'));
    } finally {
      clearInterval(trickle);
      slow.close();
    }
    assert.match(
      slow.text,
      /^HTTP\/1\.1 408 [\s\S]*\r\n\r\nthe body comes too slowly: fewer than 1000 bytes a second\n$/,
    );
  });
});

describe('downloads that stand still', () => {
  let server: TestServer;
  let stalled: Stalled[];
  before(async () => {
    const args = [...CLIENTS, '--max-downloads', '3', '--stall-time', '1'];
    server = await TestServer.start({ args });
    await pushByPut(server, big);
    stalled = [1, 2, 3].map(() => stalledPull(server.port, '192.0.2.1', big));
    await until('they run', async () => (await metric(server, 'narwhal_downloads')) === 3);
  });
  after(async () => {
    for (const it of stalled) it.close();
    await server.remove();
  });

  it('do not block a stranger, and lose no more places than are wanted', async () => {
    const { status, body } = await send(server.url, `/${big.narUrl}`, { headers: { 'x-forwarded-for': '192.0.2.2' } });
    assert.equal(status, 200);
    assert.equal(body.length, big.file.length);
    assert.equal(await metric(server, 'narwhal_stalled_total{place="download"}'), 1);
    assert.equal(await metric(server, 'narwhal_downloads_shed_total'), 0);
  });
});

describe('downloads that stand still at a gateway', () => {
  let pair: GatewayPair;
  let stalled: Stalled[];
  before(async () => {
    pair = await GatewayPair.start({ args: [...CLIENTS, '--max-requests', '3', '--stall-time', '1'] });
    await pushByPut(pair.main, big);
    stalled = [1, 2, 3].map(() => stalledPull(pair.gateway.port, '192.0.2.1', big));
    const active = 'narwhal_gateway_active_requests{cache="main"}';
    await until('they run', async () => (await pair.gateway.metric(active)) === 3);
  });
  after(async () => {
    for (const it of stalled) it.close();
    await pair.remove();
  });

  it('do not block a stranger', async () => {
    const headers = { host: 'main.localhost', 'x-forwarded-for': '192.0.2.2' };
    const { status, body } = await send(pair.gateway.url, `/${big.narUrl}`, { headers });
    assert.equal(status, 200);
    assert.equal(body.length, big.file.length);
    assert.equal(await pair.gateway.metric('narwhal_gateway_stalled_requests{cache="main"}'), 1);
  });
});

describe('bodies in memory', () => {
  let server: TestServer;
  const MEMORY = 2 * 2 ** 20;
  before(async () => {
    const args = [...CLIENTS, '--body-memory', String(MEMORY), '--stall-time', '1'];
    server = await TestServer.start({ manifest: TWO, args });
  });
  after(() => server.remove());
  const query = (client: string, cache: string, length: number) => [
    `POST /api/v1/cache/${cache}/narinfo HTTP/1.1`,
    ...['Host: localhost', `X-Forwarded-For: ${client}`, `Content-Length: ${length}`],
  ];

  it('are bounded, however many clients send however slowly, and nobody is kept out by them', async () => {
    const slow = Array.from({ length: 173 }, (_, index) => {
      const head = query(`192.0.2.${index % 100}`, 'main', 2 * MEMORY - 1000);
      return new Stalled(server.port, head, `["${'0'.repeat(32)}"`);
    });
    await until('they wait', async () => (await metric(server, 'narwhal_body_memory_waiting')) > 150);
    assert.ok((await metric(server, 'narwhal_body_memory_bytes')) <= MEMORY);
    const body = JSON.stringify(['0'.repeat(32)]);
    for (const [cache, client] of [
      ['main', '198.51.100.7'],
      ['other', '192.0.2.1'],
    ] as const) {
      const headers = { 'x-forwarded-for': client };
      const { status, text } = await send(server.url, `/api/v1/cache/${cache}/narinfo`, {
        method: 'POST',
        headers,
        body,
      });
      assert.deepEqual([status, text], [200, body]);
      assert.ok((await metric(server, 'narwhal_body_memory_bytes')) <= MEMORY);
    }
    for (const it of slow) it.close();
    await until('nothing is held', async () => (await metric(server, 'narwhal_body_memory_bytes')) === 0);
    assert.equal(await metric(server, 'narwhal_body_memory_waiting'), 0);
  });

  it('may each be as large as its own limit, also where that is more than all there is', async () => {
    const hashes = Array.from({ length: 65_536 }, () => randomBytes(20).toString('hex').slice(0, 32));
    const body = JSON.stringify(hashes);
    assert.ok(body.length > MEMORY);
    const replies = await Promise.all(
      [1, 2].map(() => send(server.url, '/api/v1/cache/main/narinfo', { method: 'POST', body })),
    );
    for (const { status } of replies) assert.equal(status, 200);
  });

  it('lose it when they stand still while others wait', async () => {
    const slow = [1, 2].map(() => new Stalled(server.port, query('192.0.2.1', 'main', MEMORY), '['));
    await Promise.race(slow.map((it) => it.ended));
    assert.equal(await metric(server, 'narwhal_body_memory_waiting'), 0);
    for (const it of slow) it.close();
  });
});
