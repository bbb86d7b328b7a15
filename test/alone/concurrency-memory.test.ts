import assert from 'node:assert/strict';
import { createHash, type Hash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { formatHash, narChunks, sha256FromHex } from '../../server/nix/index.ts';
import { makePath, type TestPath } from '../support/nars.ts';
import { completeUpload, createUpload, sendPart } from '../support/push.ts';
import { cacheManifest, standardSpec, TestServer } from '../support/server.ts';

const GIB = 2 ** 30;
const SIZE_BYTES = process.env.NARWHAL_LONG === '1' ? 4 * GIB : GIB;
const MOST_RSS_BYTES = 300e6;
const PART_BYTES = 32 * 2 ** 20;

describe(`a NAR of ${SIZE_BYTES / GIB} GiB`, () => {
  let server: TestServer;
  /** A quarter noise, the rest repeats: about as compressible as programs, and quick to make. */
  const block = Buffer.concat([randomBytes(64 * 1024), Buffer.alloc(192 * 1024, 'narwhal ')]);
  before(async () => {
    server = await TestServer.start({
      manifest: `${cacheManifest('main', standardSpec)}---\n${cacheManifest('second', standardSpec)}`,
    });
  });
  after(() => server.remove());

  function nar(): Iterable<Buffer> {
    return narChunks({
      type: 'regular',
      sizeBytes: SIZE_BYTES,
      *chunks() {
        // Another beginning each time, so that no block is the one before.
        for (let index = 0; index < SIZE_BYTES / block.length; index++) {
          const chunk = Buffer.from(block);
          for (let at = 0; at < 64 * 1024; at += 8)
            chunk.writeUInt32LE((chunk.readUInt32LE(at) ^ (index * 2654435761)) >>> 0, at);
          yield chunk;
        }
      },
    });
  }

  /** The compressed bytes as a stream; `hash` hears the NAR's. */
  function compressed(hash?: Hash): Readable {
    const source = Readable.from(
      (function* () {
        for (const chunk of nar()) {
          hash?.update(chunk);
          yield chunk;
        }
      })(),
    );
    const compressor = zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_compressionLevel]: 1 } });
    pipeline(source, compressor).catch((error: Error) => compressor.destroy(error));
    return compressor;
  }

  /** The most that the server's process has ever had in memory. */
  async function peakRss(): Promise<number> {
    const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  let path: TestPath;

  it('goes in by the Cachix protocol, part by part', async () => {
    const [narHash, fileHash] = [createHash('sha256'), createHash('sha256')];
    const upload = await createUpload(server);
    const etags: string[] = [];
    let fileSize = 0;
    let pieces: Buffer[] = [];
    let gathered = 0;
    const flush = async () => {
      etags.push(await sendPart(upload, etags.length + 1, Buffer.concat(pieces)));
      pieces = [];
      gathered = 0;
    };
    for await (const piece of compressed(narHash) as AsyncIterable<Buffer>) {
      fileHash.update(piece);
      fileSize += piece.length;
      pieces.push(piece);
      gathered += piece.length;
      if (gathered >= PART_BYTES) await flush();
    }
    await flush();
    const narSize = [...narChunks({ type: 'regular', contents: '' })].reduce((sum, it) => sum + it.length, SIZE_BYTES);
    const fileHex = fileHash.digest('hex');
    const hashes = {
      narHash: formatHash(sha256FromHex(narHash.digest('hex'))),
      fileHash: formatHash(sha256FromHex(fileHex)),
    };
    const narUrl = `nar/${hashes.fileHash.slice('sha256:'.length)}.nar.zst`;
    // Only the lengths of `nar` and `file` are asked for.
    const sized = (length: number) => ({ length }) as Buffer;
    path = { ...makePath(), ...hashes, fileHex, narUrl, nar: sized(narSize), file: sized(fileSize) };
    await completeUpload(upload, path, etags);
    const rss = await peakRss();
    assert.ok(rss < MOST_RSS_BYTES, `the server took ${Math.round(rss / 1e6)} MB`);
  }).timeout(600_000);

  it('comes out again', async () => {
    const hash = createHash('sha256');
    const response = await fetch(`${server.api()}/${path.narUrl}`);
    assert.ok(response.body !== null);
    for await (const piece of response.body) hash.update(piece);
    assert.equal(hash.digest('hex'), path.fileHex);
    const rss = await peakRss();
    assert.ok(rss < MOST_RSS_BYTES, `the server took ${Math.round(rss / 1e6)} MB`);
  }).timeout(600_000);

  it('goes in by one PUT', async () => {
    const headers = await server.auth('push', 'second');
    const request = http.request(`${server.api('second')}/push/${path.narUrl}`, { method: 'PUT', headers });
    const answer = new Promise<number>((resolve, reject) => {
      request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      request.on('error', reject);
    });
    await pipeline(compressed(), request);
    assert.equal(await answer, 200);
    const rss = await peakRss();
    assert.ok(rss < MOST_RSS_BYTES, `the server took ${Math.round(rss / 1e6)} MB`);
  }).timeout(600_000);
});
