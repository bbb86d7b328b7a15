// Long answers, which pass by the parser in buffers that are used again: to the byte, in order, whatever either side does.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http, { type IncomingMessage } from 'node:http';
import { TestGateway } from '../support/gateway.ts';
import { until } from '../support/server.ts';
import { bodyOf, Upstream } from '../support/upstream.ts';

const MIB = 2 ** 20;
/** More bodies of three buffers each than there are buffers. */
const SLOW_READERS = 40;

const NOISE = randomBytes(16 * MIB);

/** A body of its own for each seed: no part of one looks like a part of another. */
const contents = (seed: number, size: number): Buffer => NOISE.subarray(seed * 4099, seed * 4099 + size);

function isSame(body: Buffer, seed: number, size: number): void {
  assert.equal(body.length, size);
  assert.ok(body.equals(contents(seed, size)), `body ${seed} of ${size} bytes is another`);
}

describe('a long answer through a gateway', () => {
  let upstream: Upstream;
  let gateway: TestGateway;
  before(async () => {
    upstream = await Upstream.start();
    gateway = await TestGateway.start({ table: { caches: { main: { url: upstream.url } } } });
  });
  after(async () => {
    await gateway.remove();
    await upstream.close();
  });
  beforeEach(() => {
    upstream.seen.length = 0;
    // `/api/v1/cache/main/SEED/SIZE`
    upstream.handle = (request, response) => {
      const [seed, size] = (request.url ?? '').split('/').slice(-2).map(Number);
      response.writeHead(200, { 'Content-Length': size ?? 0 });
      response.end(contents(seed ?? 0, size ?? 0));
    };
  });

  const get = (seed: number | string, size: number, agent: http.Agent | false = false) =>
    new Promise<IncomingMessage>((resolve, reject) =>
      http
        .get({ host: '127.0.0.1', port: gateway.port, path: `/api/v1/cache/main/${seed}/${size}`, agent }, resolve)
        .on('error', reject),
    );
  /** Whether it ended as an answer ends that is all there. */
  const ended = (response: IncomingMessage) =>
    new Promise<boolean>((resolve) => {
      response.once('end', () => resolve(response.complete)).once('error', () => resolve(false));
      response.resume();
    });

  it('comes whole, whatever its length, between others on one connection', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const sizes = [10, MIB - 1, MIB, MIB + 1, 100, 2 * MIB, 3 * MIB + 7, 0, 9 * MIB, 5];
    for (const [seed, size] of sizes.entries()) isSame(await bodyOf(await get(seed, size, agent)), seed, size);
    agent.destroy();
  });

  it('comes whole where its head was sent before', async () => {
    upstream.handle = (_, response) => {
      response.writeHead(200, { 'Content-Length': 5 * MIB });
      response.flushHeaders();
      setImmediate(() => response.end(contents(1, 5 * MIB)));
    };
    isSame(await bodyOf(await get(1, 5 * MIB)), 1, 5 * MIB);
  });

  it('has its own bytes where many come at one time and most of them are taken late', async () => {
    const slow = await Promise.all(Array.from({ length: SLOW_READERS }, (_, seed) => get(seed, 12 * MIB)));
    await until('all have begun', () => upstream.seen.length === SLOW_READERS);
    const quick = await Promise.all(
      Array.from({ length: 8 }, async (_, at) => bodyOf(await get(100 + at, 4 * MIB + at))),
    );
    for (const [at, body] of quick.entries()) isSame(body, 100 + at, 4 * MIB + at);
    for (const [seed, response] of slow.entries()) isSame(await bodyOf(response), seed, 12 * MIB);
  });

  it('has its own bytes where others hang up in the middle', async () => {
    for (let turn = 0; turn < 30; turn++) {
      const left = await get(turn, 8 * MIB);
      left.on('error', () => {});
      left.once('data', () => left.destroy());
    }
    const whole = await Promise.all(Array.from({ length: 4 }, async (_, at) => bodyOf(await get(at, 6 * MIB))));
    for (const [at, body] of whole.entries()) isSame(body, at, 6 * MIB);
  });

  it('that breaks off has no clean end', async () => {
    upstream.handle = (_, response) => {
      response.writeHead(200, { 'Content-Length': 20 * MIB });
      response.write(contents(0, 6 * MIB));
    };
    const response = await get(0, 20 * MIB);
    let received = 0;
    response.on('data', (piece: Buffer) => {
      received += piece.length;
    });
    const end = ended(response);
    await until('all of what there is has come', () => received === 6 * MIB);
    upstream.last.socket.destroy();
    assert.equal(await end, false);
    await until('the log tells of it', () => gateway.output.includes('the answer broke off'));
  });

  it('ends where it said that it would, whatever its server sends behind', async () => {
    upstream.handle = (request) => {
      request.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${2 * MIB}\r\n\r\n`);
      request.socket.write(contents(0, 2 * MIB));
      request.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore');
    };
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    isSame(await bodyOf(await get(0, 0, agent)), 0, 2 * MIB);
    upstream.handle = (_, response) => response.end('next');
    assert.equal((await bodyOf(await get(0, 0, agent))).toString(), 'next');
    agent.destroy();
  });

  it('is counted', async () => {
    const name = 'narwhal_gateway_sent_bytes_total{cache="main"}';
    const before = await gateway.metric(name);
    assert.equal(await ended(await get(1, 7 * MIB)), true);
    assert.equal((await gateway.metric(name)) - before, 7 * MIB);
  });
});
