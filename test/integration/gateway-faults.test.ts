// Servers that go, come back, break off or do not answer, and clients that hang up.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http, { type IncomingMessage } from 'node:http';
import net from 'node:net';
import { TestGateway } from '../support/gateway.ts';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath } from '../support/nars.ts';
import { isServed, pushByPut } from '../support/push.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { exchange } from '../support/socket.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { Upstream } from '../support/upstream.ts';

const PATH = '/api/v1/cache/main/x';

describe('a gateway whose servers fail', () => {
  let upstream: Upstream;
  let other: Upstream;
  let network: TcpProxy;
  let gateway: TestGateway;
  before(async () => {
    upstream = await Upstream.start();
    other = await Upstream.start();
    network = await TcpProxy.start({ host: '127.0.0.1', port: upstream.port });
    const caches = { main: { url: network.through(upstream.url) }, other: { url: other.url } };
    gateway = await TestGateway.start({ table: { caches }, args: ['--connect-wait', '20'] });
  });
  after(async () => {
    await gateway.remove();
    await network.close();
    await upstream.close();
    await other.close();
  });
  beforeEach(() => {
    upstream.seen.length = 0;
  });
  afterEach(async () => {
    upstream.handle = (_, response) => response.end('hello\n');
    await network.refuse(false);
    // Whatever a test did to the circuit is over.
    await until('reads are answered', async () => (await get()).status === 200);
  });

  const get = (where = PATH) => send(gateway.url, where);
  const open = (init: http.RequestOptions = {}) => {
    const request = http.request({ host: '127.0.0.1', port: gateway.port, path: PATH, agent: false, ...init });
    request.on('error', () => {});
    return request;
  };
  const responseOf = (request: http.ClientRequest) =>
    new Promise<IncomingMessage>((resolve, reject) => request.once('response', resolve).once('error', reject));
  const circuit = (state: string) => gateway.metric(`narwhal_gateway_circuit{cache="main",state="${state}"}`);
  const isOpen = async () => (await circuit('closed')) === 0;

  /** No connection gets through any more, neither new ones nor those that are there. */
  async function cutOff(): Promise<void> {
    await network.refuse(true);
    network.cut();
  }

  it('answers at once, says when to come again, and leaves other caches alone', async () => {
    await cutOff();
    await until('the circuit opens', async () => {
      const { status, headers, text } = await get();
      assert.equal(status, 503);
      assert.equal(headers['retry-after'], '5');
      assert.equal(text, 'cache main is not reachable now; try again in a moment\n');
      return isOpen();
    });
    const started = performance.now();
    for (let turn = 0; turn < 20; turn++) {
      assert.equal((await get('/api/v1/cache/other/x')).status, 200);
      await get();
    }
    assert.ok(performance.now() - started < 20_000, 'not even one request has waited as long as it may');
    assert.match(gateway.output, /"cache":"main","msg":"the servers of the cache cannot be connected to"/);
    await network.refuse(false);
    await until('it answers again', async () => (await get()).status === 200);
    assert.equal(await circuit('closed'), 1);
  });

  it('lets a push wait for its servers, before a byte of its body is read', async () => {
    upstream.handle = (request, response) => {
      request.resume().on('end', () => response.end('taken'));
      response.writeContinue();
    };
    await cutOff();
    const pushes = Array.from({ length: 5 }, () => {
      const push = open({ method: 'PUT', headers: { expect: '100-continue', 'content-length': 4 } });
      push.flushHeaders();
      push.once('continue', () => push.end('text'));
      return push;
    });
    await until('the circuit opens', isOpen);
    const answers = pushes.map(responseOf);
    assert.equal((await get()).status, 503);
    await network.refuse(false);
    for (const answer of answers) assert.equal((await answer).statusCode, 200);
  });

  it('gives a push up after a while', async () => {
    const impatient = await TestGateway.start({
      table: { caches: { main: { url: network.through(upstream.url) } } },
      args: ['--connect-wait', '0.5'],
    });
    try {
      await cutOff();
      const reply = await send(impatient.url, PATH, { method: 'PUT', body: 'text', expect: true });
      assert.deepEqual([reply.status, reply.continued], [503, false]);
      assert.equal(upstream.seen.length, 0);
    } finally {
      await impatient.remove();
    }
  });

  it('forgets a push whose client gives up first', async () => {
    await cutOff();
    const push = open({ method: 'PUT', headers: { 'content-length': 4 } });
    push.flushHeaders();
    await until('it waits', async () => (await gateway.metric('narwhal_gateway_active_requests{cache="main"}')) === 1);
    push.destroy();
    await until(
      'it is gone',
      async () => (await gateway.metric('narwhal_gateway_active_requests{cache="main"}')) === 0,
    );
    await network.refuse(false);
    await until('reads are answered', async () => (await get()).status === 200);
    assert.deepEqual(new Set(upstream.seen.map(({ method }) => method)), new Set(['GET']));
  });

  it('repeats a read that met the end of an idle connection, and nothing else', async () => {
    await get();
    let isFirst = true;
    // As a server that ends connections at the very moment that a request arrives.
    upstream.handle = (request, response) => {
      if (isFirst) request.socket.destroy();
      else response.end('second');
      isFirst = false;
    };
    const before = upstream.accepted;
    assert.equal((await get()).text, 'second');
    assert.equal(upstream.accepted, before + 1, 'the first came by a connection that was there');
    upstream.seen.length = 0;
    upstream.handle = (request) => request.socket.destroy();
    const push = await send(gateway.url, PATH, { method: 'POST' });
    assert.equal(push.status, 502);
    assert.equal(upstream.seen.length, 1, 'nobody knows whether it was done');
  });

  it('does not repeat a read that reached the server by a new connection', async () => {
    network.cut();
    upstream.handle = (request) => request.socket.destroy();
    const { status, text } = await get();
    assert.deepEqual([status, text], [502, 'cache main ended the connection without an answer\n']);
    assert.equal(upstream.seen.length, 1);
  });

  for (const [how, headers] of [
    ['a length', { 'Content-Length': 1_000_000 }],
    ['chunks', {}],
  ] as const) {
    it(`ends the client's connection when an answer with ${how} breaks off`, async () => {
      upstream.handle = (_, response) => {
        response.writeHead(200, headers);
        response.write(Buffer.alloc(100_000));
      };
      const request = open();
      request.end();
      const response = await responseOf(request);
      const ended = new Promise<boolean>((resolve) => {
        response.once('end', () => resolve(true)).once('error', () => resolve(false));
      });
      response.resume();
      await until('it has begun', () => upstream.seen.length > 0);
      upstream.last.socket.destroy();
      assert.equal(await ended, false);
      assert.equal(response.complete, false);
    });
  }

  it('resets the connection of a client of HTTP/1.0, to which an end would look clean', async () => {
    upstream.handle = (_, response) => {
      response.write('half an ');
      setImmediate(() => response.socket?.destroy());
    };
    const socket = net.connect(gateway.port, '127.0.0.1', () => socket.write(`GET ${PATH} HTTP/1.0\r\n\r\n`));
    const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
      socket
        .resume()
        .once('error', resolve)
        .once('end', () => resolve(undefined));
    });
    assert.equal(error?.code, 'ECONNRESET');
  });

  it('tells the server when a client hangs up, in a download and in an upload', async () => {
    let closed = 0;
    upstream.handle = (request, response) => {
      request.once('error', () => closed++);
      response.once('close', () => {
        if (!response.writableFinished) closed++;
      });
      if (request.method === 'GET') response.write(Buffer.alloc(100_000));
      else request.resume();
    };
    const download = open();
    download.end();
    (await responseOf(download)).destroy();
    await until('the server hears of it', () => closed >= 1);
    const seen = upstream.seen.length;
    const upload = open({ method: 'PUT', headers: { 'content-length': 1_000_000 } });
    upload.write(Buffer.alloc(100_000));
    await until('the upload has begun', () => upstream.seen.length > seen);
    const before = closed;
    upload.destroy();
    await until('the server hears of that too', () => closed > before);
  });

  it('sends reads away where too many run, and takes pushes', async () => {
    const small = await TestGateway.start({
      table: { caches: { main: { url: upstream.url } } },
      args: ['--max-requests', '1', '--request-wait', '0.1'],
    });
    try {
      const { promise, resolve } = Promise.withResolvers<void>();
      upstream.handle = (request, response) => {
        if (request.method === 'PUT') response.end('taken');
        else void promise.then(() => response.end());
      };
      const first = http.request({ host: '127.0.0.1', port: small.port, path: PATH, agent: false });
      first.end();
      await until('one runs', () => upstream.seen.length > 0);
      const { status, headers } = await send(small.url, PATH);
      assert.deepEqual([status, headers['retry-after']], [503, '5']);
      assert.equal((await send(small.url, PATH, { method: 'PUT', body: 'x' })).status, 200);
      resolve();
      assert.equal((await responseOf(first)).statusCode, 200);
    } finally {
      await small.remove();
    }
  });

  it('survives nonsense, from either side', async () => {
    const raw = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end('this is not HTTP\r\n\r\n'));
    });
    await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
    const { port } = raw.address() as net.AddressInfo;
    const odd = await TestGateway.start({ table: { caches: { main: { url: `http://127.0.0.1:${port}` } } } });
    try {
      assert.equal((await send(odd.url, PATH)).status, 502);
      await exchange(odd.port, 'nonsense\r\n\r\n');
      await exchange(odd.port, randomBytes(1000));
      await exchange(odd.port, `GET /\x7f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      assert.equal((await fetch(`${odd.adminUrl}/readyz`)).status, 200);
    } finally {
      await odd.remove();
      raw.close();
    }
  });
});

describe('a gateway whose real server is killed', () => {
  let pair: GatewayPair;
  let big: ReturnType<typeof makePath>;
  before(async () => {
    pair = await GatewayPair.start();
    big = makePath({ contents: randomBytes(60 * 2 ** 20), compression: 'none' });
    await pushByPut(pair.main, big);
  });
  after(() => pair.remove());

  /** Starts the server again and tells the gateway, as an operator would. */
  async function restart(): Promise<void> {
    await pair.main.restart();
    await pair.gateway.useTable(await pair.table());
  }

  it('in the middle of a download, ends that without a clean end', async () => {
    const response = await new Promise<IncomingMessage>((resolve) => {
      http.get(`${pair.api()}/${big.narUrl}`, resolve);
    });
    const failed = new Promise<boolean>((resolve) => {
      response.once('error', () => resolve(true)).once('end', () => resolve(false));
    });
    await new Promise<void>((resolve) => response.once('data', () => resolve()));
    response.pause();
    await pair.main.stop('SIGKILL');
    response.resume();
    assert.equal(await failed, true);
    await restart();
    assert.ok(await isServed(pair.main, big));
  });

  it('in the middle of an upload, tells the client, which can push it anew', async () => {
    const it = makePath({ contents: randomBytes(30 * 2 ** 20), compression: 'none' });
    const headers = { ...(await pair.main.auth()), 'content-length': it.file.length };
    const put = http.request(`${pair.api()}/push/${it.narUrl}`, { method: 'PUT', headers });
    const outcome = new Promise<number>((resolve) => {
      put.once('response', (response) => resolve(response.resume().statusCode ?? 0)).once('error', () => resolve(0));
    });
    put.write(it.file.subarray(0, 10_000_000));
    await until('the server has begun', async () => {
      const text = await (await fetch(`${pair.main.adminUrl}/metrics`)).text();
      return /^narwhal_push_bodies\{state="active"\} 1$/m.test(text);
    });
    await pair.main.stop('SIGKILL');
    put.write(it.file.subarray(10_000_000));
    assert.ok([0, 502].includes(await outcome));
    put.destroy();
    await restart();
    await pushByPut(pair.main, it);
    assert.ok(await isServed(pair.main, it));
  });
});
