// WebSockets through a gateway: agents, deployments and logs of Cachix Deploy find their cache by their token.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TestGateway } from '../support/gateway.ts';
import { until } from '../support/server.ts';
import { Upstream } from '../support/upstream.ts';

const KEY_END = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const prefixOf = (token: string) => createHash('sha256').update(token).digest('hex').slice(0, 16);

/** Takes a WebSocket and sends back every byte, frames or not: a gateway knows nothing of them. */
function echo(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${KEY_END}`).digest('base64');
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', 'X-Odd: yes'];
  socket.write(`${lines.join('\r\n')}\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.write('welcome');
  if (head.length > 0) socket.write(head);
  socket.pipe(socket);
}

describe('a WebSocket through a gateway', () => {
  let one: Upstream;
  let two: Upstream;
  let gateway: TestGateway;
  beforeEach(async () => {
    one = await Upstream.start();
    two = await Upstream.start();
    for (const upstream of [one, two]) upstream.upgrade = echo;
    const caches = {
      one: { url: one.url, tokens: [prefixOf('token-one')] },
      two: { url: two.url, tokens: [prefixOf('token-two')] },
      gone: { url: 'http://127.0.0.1:1', tokens: [prefixOf('token-gone')] },
    };
    gateway = await TestGateway.start({ table: { caches } });
  });
  afterEach(async () => {
    await gateway.remove();
    await one.close();
    await two.close();
  });

  interface Opened {
    readonly answer: http.IncomingMessage;
    readonly socket: Socket;
    /** Everything that has come. */
    text(): string;
  }

  function open(path: string, token: string, head = ''): Promise<Opened> {
    const headers = {
      host: 'cache.test',
      authorization: `Bearer ${token}`,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      name: Buffer.from('größe', 'utf8').toString('latin1'),
    };
    return new Promise((resolve, reject) => {
      const request = http.request({ host: '127.0.0.1', port: gateway.port, path, headers, agent: false });
      request.on('error', reject);
      request.on('response', (answer) => {
        answer.resume();
        reject(Object.assign(new Error('no WebSocket'), { status: answer.statusCode, headers: answer.headers }));
      });
      request.on('upgrade', (answer, socket, first) => {
        let text = first.toString();
        socket.setEncoding('utf8').on('data', (piece) => {
          text += piece;
        });
        socket.on('error', () => {});
        resolve({ answer, socket, text: () => text });
      });
      request.on('socket', (socket) => {
        if (head !== '') socket.once('connect', () => setImmediate(() => socket.write(head)));
      });
      request.end();
    });
  }

  const websockets = () => gateway.metric('narwhal_gateway_websockets');

  it('goes where its token belongs, both ways, with every header', async () => {
    const id = '3d0a98b6-b9cc-45d2-9188-52a3a0cb914b';
    for (const path of ['/ws', '/ws-deployment', `/api/v1/deploy/log/${id}`, `/api/v1/deploy/log/${id}?view=true`]) {
      for (const [token, upstream] of [
        ['token-one', one],
        ['token-two', two],
      ] as const) {
        const { answer, socket, text } = await open(path, token);
        assert.equal(answer.headers['x-odd'], 'yes');
        assert.equal(upstream.last.url, path);
        const { headers } = upstream.last;
        assert.deepEqual(
          [headers.upgrade, headers.host, headers['x-forwarded-for']],
          ['websocket', 'cache.test', '127.0.0.1'],
        );
        assert.equal(Buffer.from(String(headers.name), 'latin1').toString('utf8'), 'größe');
        const big = randomBytes(500_000).toString('hex');
        socket.write(big);
        await until('all of it is back', () => text() === `welcome${big}`);
        socket.end();
      }
    }
    await until('all are closed', async () => (await websockets()) === 0);
    assert.equal(await gateway.metric('narwhal_gateway_active_requests{cache="one"}'), 0);
    assert.equal(await gateway.metric('narwhal_gateway_requests_total{cache="one",code="1xx"}'), 4);
  });

  it('keeps what the client sends before it has the answer', async () => {
    const { text } = await open('/ws', 'token-one', 'early');
    await until('it is back', () => text() === 'welcomeearly');
  });

  it('may be refused by the server, in its own words', async () => {
    one.upgrade = (_, socket) => {
      socket.end('HTTP/1.1 409 Conflict\r\nRetry-After: 7\r\nContent-Length: 6\r\n\r\nbusy!\n');
    };
    await assert.rejects(open('/ws', 'token-one'), (error: { status?: number; headers?: http.IncomingHttpHeaders }) => {
      assert.equal(error.status, 409);
      assert.equal(error.headers?.['retry-after'], '7');
      return true;
    });
  });

  it('is refused without a token that some cache knows, and while its servers are away', async () => {
    await assert.rejects(open('/ws', 'nonsense'), { status: 401 });
    await assert.rejects(open('/ws', ''), { status: 401 });
    await assert.rejects(open('/ws', 'token-gone'), { status: 503 });
  });

  it('ends on one side when it ends on the other', async () => {
    const first = await open('/ws', 'token-one');
    const second = await open('/ws', 'token-one');
    const [near, far] = [...one.sockets];
    assert.ok(near !== undefined && far !== undefined);
    first.socket.destroy();
    await until('the server hears of it', () => one.sockets.size === 1);
    const closed = new Promise((resolve) => second.socket.once('close', resolve));
    for (const socket of one.sockets) socket.destroy();
    await closed;
    await until('none is left', async () => (await websockets()) === 0);
  });

  it('stays open when the table changes, and ends when the gateway stops', async () => {
    const { socket, text } = await open('/ws', 'token-one');
    await gateway.useTable({ caches: { two: { url: two.url } } });
    socket.write(' again');
    await until('it still echoes', () => text() === 'welcome again');
    const closed = new Promise((resolve) => socket.once('close', resolve));
    const started = performance.now();
    assert.equal(await gateway.stop(), 0);
    await closed;
    assert.ok(performance.now() - started < 30_000, 'it did not wait for the end of its grace');
  });
});
