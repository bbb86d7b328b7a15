// Several attempts at one part: verified bytes are the published bytes, whoever sends what when.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { assertServed, Calls, claimOf, type Upload } from '../support/cachix-calls.ts';
import { type Pushable, pushable, randomHashPart } from '../support/cachix-paths.ts';
import { assertConsistent, stagedFiles } from '../support/disk.ts';
import { PartAttempt } from '../support/part-attempt.ts';
import { TestServer, until } from '../support/server.ts';

const KIB = 1024;

describe('attempts at one part of a Cachix upload', () => {
  let server: TestServer;
  let calls: Calls;
  before(async () => {
    server = await TestServer.start();
    calls = await Calls.as(server);
  });
  after(async () => {
    await server.stop();
    await assertConsistent(server);
    await server.remove();
  });
  afterEach(async () => {
    assert.deepEqual(await stagedFiles(server), []);
  });

  async function begin(upload: Upload, number: number, piece: Buffer): Promise<PartAttempt> {
    return new PartAttempt(`${server.url}${await upload.url(number, piece)}`, piece.length);
  }

  /** Waits until so many bytes of an upload lie in its file. */
  const written = (upload: Upload, bytes: number, suffix = '') =>
    until(`${bytes} bytes are written`, async () => {
      const file = path.join(server.data, 'main', 'storages', 'disk', '.staging', `${upload.id}${suffix}`);
      return ((await stat(file).catch(() => undefined))?.size ?? 0) >= bytes;
    });

  async function finish(upload: Upload, pushed: Pushable): Promise<void> {
    const reply = await upload.complete(claimOf(pushed));
    assert.equal(reply.status, 200, reply.text);
    await assertServed(server, pushed);
  }

  /** Somebody else pushes the same NAR under a path of their own. */
  async function pushByPut(pushed: Pushable): Promise<Pushable> {
    const headers = await server.auth();
    const { claim } = pushed;
    const hashPart = randomHashPart();
    const storePath = `/nix/store/${hashPart}-${claim.cStoreSuffix}`;
    const url = `nar/${createHash('sha256').update(pushed.file).digest('hex')}.nar.zst`;
    const lines = [
      `StorePath: ${storePath}`,
      `URL: ${url}`,
      'Compression: zstd',
      `NarHash: ${claim.cNarHash}`,
      `NarSize: ${claim.cNarSize}`,
      'References: ',
    ];
    const base = `${server.api()}/push`;
    for (const [name, body] of [
      [url, new Uint8Array(pushed.file)],
      [`${hashPart}.narinfo`, `${lines.join('\n')}\n`],
    ] as const) {
      const reply = await fetch(`${base}/${name}`, { method: 'PUT', headers, body });
      assert.equal(reply.status, 200, await reply.text());
    }
    return { ...pushed, hashPart, storePath };
  }

  it('publish what was verified where one stalls, another sends it all, and the first goes on with other bytes', async () => {
    const pushed = await pushable({ contents: randomBytes(3_000_000) });
    const upload = await calls.create();
    const stalled = await begin(upload, 1, pushed.file);
    await stalled.send(pushed.file.subarray(0, 400 * KIB));
    await written(upload, 150 * KIB);
    await upload.send(1, pushed.file);
    await stalled.send(randomBytes(pushed.file.length - 400 * KIB));
    stalled.end();
    await stalled.answer;
    await finish(upload, pushed);
    await assertServed(server, await pushByPut(pushed));
  });
});
