import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http, { type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GatewayPair } from '../support/gateway-pair.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { until } from '../support/server.ts';

const SIZE_BYTES = 256 * 2 ** 20;
/** 78 MB without a request; V8 lets 64 MB of buffers become garbage before it looks. Larger bodies or more of them add nothing. */
const MOST_RSS_BYTES = 300e6;

describe('a NAR of 256 MiB through a gateway', () => {
  let pair: GatewayPair;
  let path: TestPath;
  before(async () => {
    pair = await GatewayPair.start();
    path = makePath({ contents: randomBytes(SIZE_BYTES), compression: 'none' });
  });
  after(() => pair.remove());

  /** The most that the gateway has ever had in memory. */
  async function isFlat(): Promise<void> {
    const status = await readFile(`/proc/${pair.gateway.pid}/status`, 'utf8');
    const rss = Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    assert.ok(rss < MOST_RSS_BYTES, `the gateway took ${Math.round(rss / 1e6)} MB`);
  }

  const pieces = () =>
    Readable.from(
      (function* () {
        for (let at = 0; at < path.file.length; at += 2 ** 18) yield path.file.subarray(at, at + 2 ** 18);
      })(),
    );

  for (const [how, headers] of [
    ['with a length', { 'content-length': 'known' }],
    ['in chunks', {}],
  ] as const) {
    it(`goes in ${how}, and memory stays flat`, async () => {
      const length = 'content-length' in headers ? { 'content-length': path.file.length } : {};
      const cache = 'content-length' in headers ? 'main' : 'private';
      const server = cache === 'main' ? pair.main : pair.secret;
      const put = http.request(`${pair.api(cache)}/push/${path.narUrl}`, {
        method: 'PUT',
        headers: { ...(await server.auth('push', cache)), ...length },
      });
      const answer = new Promise<IncomingMessage>((resolve, reject) =>
        put.once('response', resolve).once('error', reject),
      );
      await pipeline(pieces(), put);
      assert.equal((await answer).resume().statusCode, 200);
      await isFlat();
    });
  }

  it('comes out again, eight times at once, and memory stays flat', async () => {
    await fetch(`${pair.api()}/push/${path.hashPart}.narinfo`, {
      method: 'PUT',
      headers: await pair.main.auth(),
      body: path.narinfo,
    });
    const sums = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const hash = createHash('sha256');
        const response = await fetch(`${pair.api()}/${path.narUrl}`);
        assert.ok(response.body !== null);
        for await (const piece of response.body) hash.update(piece);
        return hash.digest('hex');
      }),
    );
    assert.deepEqual(new Set(sums), new Set([path.fileHex]));
    await isFlat();
  });

  it('is not read faster than its reader takes it', async () => {
    const started: IncomingMessage[] = [];
    for (let reader = 0; reader < 20; reader++)
      started.push(
        await new Promise<IncomingMessage>((resolve) => {
          http.get(`${pair.api()}/${path.narUrl}`, { agent: false }, resolve);
        }),
      );
    const sent = () => pair.gateway.metric('narwhal_gateway_sent_bytes_total{cache="main"}');
    let last = -1;
    // It stands still once all buffers on the way are full.
    await until('nothing moves any more', async () => {
      const now = await sent();
      const isStill = now === last;
      last = now;
      return isStill;
    });
    await isFlat();
    for (const response of started) response.destroy();
  });
});
