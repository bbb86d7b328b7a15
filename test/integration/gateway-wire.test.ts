// What a gateway lets through, letter by letter: heads, bodies, trailers, and what it does to those who play tricks.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http, { type IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TestGateway } from '../support/gateway.ts';
import { send } from '../support/raw-http.ts';
import { until } from '../support/server.ts';
import { exchange } from '../support/socket.ts';
import { bodyOf, Upstream } from '../support/upstream.ts';

/** Names and values as they came, without those that every connection has. */
function rawOf(message: IncomingMessage): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < message.rawHeaders.length; at += 2)
    pairs.push([message.rawHeaders[at] ?? '', message.rawHeaders[at + 1] ?? '']);
  return pairs;
}

describe('through a gateway', () => {
  let upstream: Upstream;
  let gateway: TestGateway;
  before(async () => {
    upstream = await Upstream.start();
    const caches = { main: { url: upstream.url }, other: { url: 'http://127.0.0.1:1' } };
    gateway = await TestGateway.start({
      table: { caches },
      args: ['--trusted-proxies', '127.0.0.2', '--headers-timeout', '1', '--response-timeout', '2'],
    });
  });
  after(async () => {
    await gateway.remove();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.handle = (_, response) => response.end('hello\n');
    upstream.continues = false;
    upstream.seen.length = 0;
  });

  const PATH = '/api/v1/cache/main/x';
  const request = (init: http.RequestOptions, then?: (response: IncomingMessage) => void) =>
    http.request({ host: '127.0.0.1', port: gateway.port, path: PATH, agent: false, ...init }, then);

  it('a request keeps its target, its Host and its headers as they were written', async () => {
    const target = `${PATH}/%2B+a%20b?q=%3F&&x`;
    const headers = [
      'Host',
      'Main.Cache.Test:80',
      'X-Odd',
      'a',
      'x-ODD',
      'b',
      'Cookie',
      'c=1',
      'Authorization',
      'Bearer t',
    ];
    await new Promise<void>((resolve, reject) => {
      request({ path: target, headers, setHost: false }, (response) => response.resume().on('end', resolve))
        .on('error', reject)
        .end();
    });
    assert.equal(upstream.last.url, target);
    const raw = rawOf(upstream.last).filter(([name]) => !/^(connection|x-forwarded-.*|x-request-id)$/i.test(name));
    assert.deepEqual(raw, [
      ['Host', 'Main.Cache.Test:80'],
      ['X-Odd', 'a'],
      ['x-ODD', 'b'],
      ['Cookie', 'c=1'],
      ['Authorization', 'Bearer t'],
    ]);
  });

  it('a name in UTF-8 passes, as agents have them', async () => {
    const name = Buffer.from('größe', 'utf8').toString('latin1');
    await send(gateway.url, PATH, { headers: { name } });
    assert.equal(upstream.last.headers.name, name);
  });

  it('what belongs to one connection stays on it', async () => {
    upstream.handle = (_, response) => {
      response.writeHead(200, ['Connection', 'x-gone', 'X-Gone', '1', 'X-Stays', '1', 'Proxy-Connection', 'close']);
      response.end();
    };
    const reply = await send(gateway.url, PATH, {
      headers: {
        connection: 'close, x-mine',
        'x-mine': '1',
        'proxy-authorization': 'Basic eDp5',
        'keep-alive': 'timeout=1',
        te: 'trailers',
        'x-theirs': '1',
      },
    });
    const { headers } = upstream.last;
    for (const name of ['x-mine', 'proxy-authorization', 'keep-alive', 'te'])
      assert.equal(headers[name], undefined, name);
    assert.equal(headers['x-theirs'], '1');
    assert.equal(headers.connection, 'keep-alive');
    assert.equal(reply.headers['x-gone'], undefined);
    assert.equal(reply.headers['proxy-connection'], undefined);
    assert.equal(reply.headers['x-stays'], '1');
  });

  it('says who asked, and passes on what a trusted proxy says of that, nobody else', async () => {
    const lies = { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'evil.test' };
    await send(gateway.url, PATH, { headers: { host: 'main.cache.test', ...lies } });
    const said = () =>
      ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'].map((name) => upstream.last.headers[name]);
    assert.deepEqual(said(), ['127.0.0.1', 'http', 'main.cache.test']);
    await new Promise<void>((resolve, reject) => {
      request({ localAddress: '127.0.0.2', headers: { host: 'main.cache.test', ...lies } }, (response) =>
        response.resume().on('end', resolve),
      )
        .on('error', reject)
        .end();
    });
    assert.deepEqual(said(), ['203.0.113.9, 127.0.0.2', 'https', 'evil.test']);
  });

  it('bodies and trailers pass in both directions, chunk by chunk', async () => {
    const body = randomBytes(3_000_000);
    upstream.handle = async (request, response) => {
      const got = await bodyOf(request);
      response.writeHead(200, { Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' });
      response.write(got.subarray(0, 1000));
      response.write(got.subarray(1000));
      const sum = createHash('sha256').update(got).digest('hex');
      response.addTrailers([
        ['X-Sum', sum],
        ['X-Got', String(request.trailers['x-end'])],
      ]);
      response.end();
    };
    const reply = await new Promise<{ bytes: Buffer; trailers: NodeJS.Dict<string> }>((resolve, reject) => {
      const put = request({ method: 'PUT', headers: { trailer: 'X-End' } }, async (response) => {
        resolve({ bytes: await bodyOf(response), trailers: response.trailers });
      });
      put.on('error', reject);
      put.write(body.subarray(0, 1_500_000));
      put.write(body.subarray(1_500_000));
      put.addTrailers([['X-End', 'here']]);
      put.end();
    });
    assert.ok(reply.bytes.equals(body));
    assert.deepEqual(
      { ...reply.trailers },
      { 'x-sum': createHash('sha256').update(body).digest('hex'), 'x-got': 'here' },
    );
    assert.equal(upstream.last.headers['transfer-encoding'], 'chunked');
  });

  it('HEAD, ranges and answers without a body pass as they are', async () => {
    upstream.handle = (request, response) => {
      if (request.headers.range !== undefined) {
        response.writeHead(206, { 'Content-Range': 'bytes 1-3/10', 'Content-Length': 3 }).end('abc');
      } else if (request.method === 'HEAD') response.writeHead(200, { 'Content-Length': 12345 }).end();
      else response.writeHead(304, { ETag: '"it"' }).end();
    };
    const head = await send(gateway.url, PATH, { method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, '12345', 0]);
    const range = await send(gateway.url, PATH, { headers: { range: 'bytes=1-3' } });
    assert.deepEqual([range.status, range.headers['content-range'], range.text], [206, 'bytes 1-3/10', 'abc']);
    const known = await send(gateway.url, PATH);
    assert.deepEqual([known.status, known.headers.etag, known.body.length], [304, '"it"', 0]);
  });

  it('a client that waits to be asked for its body is asked by the server alone', async () => {
    upstream.handle = async (request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401).end('not you\n');
        return;
      }
      response.writeContinue();
      response.end(String((await bodyOf(request)).length));
    };
    const refused = await send(gateway.url, PATH, { method: 'PUT', body: 'text', expect: true });
    assert.deepEqual([refused.status, refused.continued, refused.text], [401, false, 'not you\n']);
    const headers = { authorization: 'Bearer t' };
    const taken = await send(gateway.url, PATH, { method: 'PUT', body: 'text', expect: true, headers });
    assert.deepEqual([taken.status, taken.continued, taken.text], [200, true, '4']);
  });

  it('an answer that comes before the body is sent reaches a client that goes on sending', async () => {
    upstream.handle = (request, response) => {
      response.writeHead(413, { 'Content-Length': 9 }).end('too much\n');
      request.resume();
    };
    const body = randomBytes(20_000_000);
    const reply = await send(gateway.url, PATH, { method: 'PUT', body });
    assert.deepEqual([reply.status, reply.text], [413, 'too much\n']);
  });

  it('an answer begins when the server begins it, not with its first byte', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.handle = (_, response) => {
      response.writeHead(200).flushHeaders();
      void promise.then(() => response.end('late'));
    };
    const response = await new Promise<IncomingMessage>((resolve) => request({}, resolve).end());
    assert.equal(response.statusCode, 200);
    resolve();
    assert.equal((await bodyOf(response)).toString(), 'late');
  });

  it('a client of HTTP/1.0 gets bodies that end with their connection', async () => {
    upstream.handle = (_, response) => {
      response.write('no ');
      response.end('length');
    };
    const { text } = await exchange(gateway.port, `GET ${PATH} HTTP/1.0\r\nHost: x\r\n\r\n`);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    assert.doesNotMatch(text, /transfer-encoding/i);
    assert.match(text, /\r\n\r\nno length$/);
  });

  it('one connection carries many requests, and so does the one behind it', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const before = upstream.accepted;
    for (let turn = 0; turn < 5; turn++) {
      await new Promise<void>((resolve, reject) => {
        request({ agent }, (response) => response.resume().on('end', resolve))
          .on('error', reject)
          .end();
      });
    }
    agent.destroy();
    assert.ok(upstream.accepted - before <= 1);
  });

  describe('tricks', () => {
    const start = `POST ${PATH} HTTP/1.1\r\nHost: x\r\n`;
    const hidden = `GET ${PATH}/hidden HTTP/1.1\r\nHost: x\r\n\r\n`;
    const rows: readonly (readonly [what: string, bytes: string, statuses: readonly number[]])[] = [
      ['two lengths that differ', `${start}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef`, [400]],
      ['two lengths in one header', `${start}Content-Length: 5, 5\r\n\r\nabcde`, [400]],
      [
        'a length and chunks',
        `${start}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden}`,
        [400],
      ],
      [
        'chunks and a length',
        `${start}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${hidden}`,
        [400],
      ],
      [
        'chunks that are not the last coding',
        `${start}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n${hidden}`,
        [400],
      ],
      [
        'a coding spelt with a control character',
        `${start}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n${hidden}`,
        [400],
      ],
      ['a space before the colon', `${start}Content-Length : 5\r\n\r\nabcde`, [400]],
      ['a chunk whose size is no number', `${start}Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n`, [400]],
      ['a header that goes on in the next line', `${start}X-A: b\r\n Content-Length: 5\r\n\r\n`, [400]],
      ['no Host', `GET ${PATH} HTTP/1.1\r\n\r\n`, [400]],
      ['two Hosts', `GET ${PATH} HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n`, [400]],
      ['a tunnel to elsewhere', 'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n', [405]],
    ];
    for (const [what, bytes, statuses] of rows) {
      it(`with ${what} reach no server`, async () => {
        const answer = await exchange(gateway.port, bytes);
        assert.deepEqual(answer.statuses, statuses, answer.text);
        assert.deepEqual(
          upstream.seen.map(({ url }) => url).filter((url) => url?.includes('hidden')),
          [],
        );
        assert.ok(upstream.seen.length <= 1);
      });
    }

    it('with a coding of the body that nobody undoes are refused', async () => {
      const bytes = `${start}Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n`;
      assert.deepEqual((await exchange(gateway.port, bytes)).statuses, [415]);
      assert.equal(upstream.seen.length, 0);
    });

    it('with a Connection header that names the length do not take it away', async () => {
      upstream.handle = async (request, response) => response.end(String((await bodyOf(request)).length));
      const bytes = `${start}Content-Length: 5\r\nConnection: close, content-length, host\r\n\r\nabcde`;
      const { text } = await exchange(gateway.port, bytes);
      assert.match(text, /\r\n5(?:\r\n|$)/);
      assert.equal(upstream.last.headers['content-length'], '5');
      assert.equal(upstream.last.headers.host, 'x');
    });

    it('with headers that never end are cut off', async () => {
      const { statuses } = await exchange(gateway.port, `GET ${PATH} HTTP/1.1\r\nHost: x\r\nX-Slow: `);
      assert.deepEqual(statuses, [408]);
      assert.equal(upstream.seen.length, 0);
    });

    it('with headers that are too large are refused', async () => {
      const { statuses } = await exchange(gateway.port, `GET ${PATH} HTTP/1.1\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`);
      assert.deepEqual(statuses, [431]);
    });

    it('with an upgrade to something else get an answer in HTTP/1.1', async () => {
      const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABk' };
      const reply = await send(gateway.url, PATH, { headers });
      assert.deepEqual([reply.status, reply.text], [200, 'hello\n']);
      for (const name of Object.keys(headers).slice(1)) assert.equal(upstream.last.headers[name], undefined, name);
    });
  });

  it('a server that reads slowly holds the client back', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    upstream.handle = async (request, response) => {
      await promise;
      let bytes = 0;
      for await (const piece of request) bytes += piece.length;
      response.end(String(bytes));
    };
    const piece = Buffer.alloc(2 ** 18);
    const put = request({ method: 'PUT' });
    const answer = new Promise<IncomingMessage>((resolve, reject) =>
      put.once('response', resolve).once('error', reject),
    );
    const socket = await new Promise<Socket>((resolve) => put.once('socket', resolve));
    put.flushHeaders();
    await until('the request has arrived', () => upstream.seen.length > 0);
    let sent = 0;
    // Until the system takes nothing more for a while: then all buffers on the way are full.
    for (let still = 0; still < 20; ) {
      if (socket.writableLength === 0) {
        put.write(piece);
        sent += piece.length;
        still = 0;
      } else still++;
      assert.ok(sent < 48 * 2 ** 20, `${sent} bytes`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    resolve();
    put.end();
    assert.equal((await bodyOf(await answer)).toString(), String(sent));
  });

  describe('a reader that stands still', () => {
    it('holds the server back, and is cut off after a while', async () => {
      let written = 0;
      let isClosed = false;
      upstream.handle = (_, response) => {
        const piece = Buffer.alloc(64 * 1024);
        const write = () => {
          while (!isClosed && response.write(piece)) written += piece.length;
          written += piece.length;
        };
        response.on('drain', write).on('close', () => {
          isClosed = true;
        });
        write();
      };
      const response = await new Promise<IncomingMessage>((resolve) => request({}, resolve).end());
      response.on('error', () => {});
      // What fits into buffers of three processes' sockets, and no more.
      await until('the server hears that the reader has been cut off', () => isClosed);
      assert.ok(written < 24 * 2 ** 20, `${written} bytes`);
      response.destroy();
    });
  });
});
