/** Memory follows the bytes that are in flight: not how many have passed by, nor how often a collector runs. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import zlib from 'node:zlib';
import { makePath } from '../support/nars.ts';
import { createUpload, sendPart } from '../support/push.ts';
import { TestServer } from '../support/server.ts';

const UPLOADS = 32;
const PART_BYTES = 32 * 2 ** 20;
/** Nearly a half of it is what a server takes that nobody uses. */
const MOST_PUSHED_RSS = 250e6;

const READERS = 64;
const NAR_BYTES = 32 * 2 ** 20;
/** So much goes to each before it stands still: both of its buffers are in use then. */
const TAKEN_BYTES = 8 * 2 ** 20;
/** Two pieces of 512 KiB each, and half as much again for the rest. */
const MOST_READERS_RSS = READERS * 1.5 * 2 ** 20;

/** A figure of /proc/PID/status. */
async function bytesOf(server: TestServer, figure: 'VmHWM' | 'VmRSS'): Promise<number> {
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
  return Number(new RegExp(`^${figure}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

describe('memory of what is in flight', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await TestServer.start();
  });
  afterEach(() => server.remove());

  it(`is bounded for ${UPLOADS} parts of ${PART_BYTES / 2 ** 20} MiB at one time`, async () => {
    // The beginning of a NAR, so that it is decoded as it arrives.
    const { nar } = makePath({ contents: randomBytes(PART_BYTES), compression: 'none' });
    const part = zlib.zstdCompressSync(nar).subarray(0, PART_BYTES);
    const uploads = await Promise.all(Array.from({ length: UPLOADS }, () => createUpload(server)));
    await Promise.all(uploads.map((upload) => sendPart(upload, 1, part)));
    const rss = await bytesOf(server, 'VmHWM');
    assert.ok(rss < MOST_PUSHED_RSS, `the server took ${Math.round(rss / 1e6)} MB`);
  }).timeout(120_000);

  it(`is two pieces for each of ${READERS} readers that stand still`, async () => {
    const it = makePath({ contents: randomBytes(NAR_BYTES), compression: 'none' });
    const headers = await server.auth();
    for (const [address, body] of [
      [it.narUrl, it.file],
      [`${it.hashPart}.narinfo`, it.narinfo],
    ] as const) {
      const answer = await fetch(`${server.url}/push/${address}`, { method: 'PUT', headers, body });
      assert.equal(answer.status, 200);
    }
    const before = await bytesOf(server, 'VmRSS');
    const readers = await Promise.all(Array.from({ length: READERS }, () => stalled(server.port, `/${it.narUrl}`)));
    const rss = (await bytesOf(server, 'VmRSS')) - before;
    assert.ok(rss < MOST_READERS_RSS, `the server took ${Math.round(rss / 1e6)} MB more`);
    for (const reader of readers) reader.destroy();
    const hash = createHash('sha256').update(
      Buffer.from(await (await fetch(`${server.url}/${it.narUrl}`)).arrayBuffer()),
    );
    assert.equal(hash.digest('hex'), it.fileHex);
  }).timeout(120_000);
});

/** A reader that took a part of an answer and takes no more. */
function stalled(port: number, target: string): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  let taken = 0;
  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('data', (bytes: Buffer) => {
      taken += bytes.length;
      if (taken < TAKEN_BYTES) return;
      socket.pause();
      resolve(socket);
    });
  });
}
