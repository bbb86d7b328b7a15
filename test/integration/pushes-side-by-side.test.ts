/** Many who push at once, also by bodies that are encoded: memory of what was written is freed while others still send. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import { makePath } from '../support/nars.ts';
import { TestServer } from '../support/server.ts';

const NAR_BYTES = 6 * 2 ** 20;

/** Between noise, which decoders give out in small pieces, and what shrinks to nothing, which fills their buffers. */
function contents(): Buffer {
  const pieces = Array.from({ length: NAR_BYTES / 2 ** 16 }, (_, index) =>
    index % 3 === 0 ? randomBytes(2 ** 16) : Buffer.alloc(2 ** 16, `${index} `),
  );
  return Buffer.concat(pieces);
}

const CODINGS = {
  plain: (bytes: Buffer) => bytes,
  gzip: (bytes: Buffer) => zlib.gzipSync(bytes),
  br: (bytes: Buffer) => zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 3 } }),
  zstd: (bytes: Buffer) => zlib.zstdCompressSync(bytes),
};

describe('pushes side by side', () => {
  let server: TestServer;
  before(async () => {
    server = await TestServer.start();
  });
  after(() => server.remove());

  it('are stored byte by byte, however their bodies are encoded', async () => {
    const pushes = Object.entries(CODINGS).flatMap(([coding, encode]) =>
      Array.from({ length: 4 }, (_, index) => {
        const it = makePath({ contents: contents(), compression: index % 2 === 0 ? 'none' : 'zstd' });
        return { it, coding, body: encode(it.file) };
      }),
    );
    const auth = await server.auth();
    await Promise.all(
      pushes.map(async ({ it, coding, body }) => {
        const headers = coding === 'plain' ? auth : { ...auth, 'Content-Encoding': coding };
        const nar = await fetch(`${server.url}/push/${it.narUrl}`, { method: 'PUT', headers, body });
        assert.equal(nar.status, 200, `${coding}: ${await nar.text()}`);
        const narinfo = await fetch(`${server.url}/push/${it.hashPart}.narinfo`, {
          method: 'PUT',
          headers: auth,
          body: it.narinfo,
        });
        assert.equal(narinfo.status, 200, await narinfo.text());
      }),
    );
    for (const { it, coding } of pushes) {
      const bytes = Buffer.from(await (await fetch(`${server.url}/${it.narUrl}`)).arrayBuffer());
      assert.equal(createHash('sha256').update(bytes).digest('hex'), it.fileHex, coding);
    }
  }).timeout(60_000);
});
