// Several attempts at one part: verified bytes are the published bytes, whoever sends what when.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { assertRefused, assertServed, Calls, claimOf, EMPTY, pieces, type Upload } from '../support/cachix-calls.ts';
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

  it('may be refused, and the right bytes are taken then, whatever their length', async () => {
    const pushed = await pushable({ contents: randomBytes(400_000) });
    const [first = EMPTY, second = EMPTY] = pieces(pushed.file, [200_000]);
    for (const wrong of [first.subarray(0, 150_000), pushed.file.subarray(0, 250_000)]) {
      const upload = await calls.create();
      const refused = await upload.put(await upload.url(1, first), wrong, { 'content-md5': '' });
      assertRefused(refused, 400, /^part 1: the MD5 of the received bytes is/);
      const broken = await begin(upload, 1, wrong);
      await upload.send(2, second);
      broken.break();
      await upload.send(1, first);
      await finish(upload, pushed);
    }
  });

  it('are cut off by the completion, which publishes what was there', async () => {
    const pushed = await pushable({ contents: randomBytes(400_000) });
    const upload = await calls.uploaded(pushed);
    const stray = await begin(upload, 2, randomBytes(300_000));
    await stray.send(randomBytes(250_000));
    await written(upload, pushed.file.length + 100_000);
    await finish(upload, pushed);
    await stray.send(randomBytes(50_000));
    stray.end();
    assert.equal((await stray.answer)?.status, 409);
    await assertServed(server, pushed);
  });

  it('end with the upload when it is aborted, and leave nothing', async () => {
    const upload = await calls.create();
    const stalled = await begin(upload, 1, randomBytes(500_000));
    await stalled.send(randomBytes(300_000));
    await written(upload, 150_000);
    assert.equal((await upload.abort()).status, 200);
    assert.deepEqual(await stagedFiles(server), []);
    await stalled.send(randomBytes(200_000));
    stalled.end();
    assert.equal((await stalled.answer)?.status, 404);
  });
});
