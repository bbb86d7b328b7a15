import * as assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as zlib from 'node:zlib';
import { type Facts, Verifier, type VerifyRequest } from '../../../../server/cache/verify/index.ts';
import {
  COMPRESSION_NAMES,
  type Compression,
  compressionSuffix,
  narChunks,
  writeNar,
} from '../../../../server/nix/index.ts';
import { asCaller } from '../../../../server/shares/index.ts';
import { compress, Folder, factsOf, hasProgram, narOf } from './support.ts';

const MAX = 2 ** 40;
const NEEDS: Record<string, string> = { bzip2: 'bzip2', lz4: 'lz4', lzma: 'xz', xz: 'xz' };

describe('the verifier', () => {
  const folder = new Folder();
  let verifier: Verifier;

  before(() => {
    verifier = new Verifier({ threads: 2 });
  });
  after(async () => {
    await verifier.stop();
    folder.remove();
  });

  function verify(
    contents: Buffer,
    claim: { narSize?: number } = {},
    more: Partial<VerifyRequest> = {},
  ): Promise<Facts> {
    const request = { file: folder.file(contents), maxNarSize: MAX, ...more };
    return verifier.open(request).finish({ fileSize: contents.length, ...claim });
  }

  for (const compression of COMPRESSION_NAMES) {
    const program = NEEDS[compression];
    const test = program === undefined || hasProgram(program) ? it : it.skip;
    const suffix = compressionSuffix(compression);

    test(`finds the facts of small and large files in ${compression}`, async () => {
      for (const size of [100, 100_000, 3_000_000]) {
        const nar = narOf(size);
        const file = compress(compression, nar);
        assert.deepEqual(await verify(file, { narSize: nar.length }, { suffix }), factsOf(file, compression, nar));
        assert.deepEqual(await verify(file, {}, { compression }), factsOf(file, compression, nar));
      }
    });

    test(`refuses a NAR in ${compression} that is longer than claimed or allowed`, async () => {
      for (const size of [1000, 3_000_000]) {
        const nar = narOf(size);
        const file = compress(compression, nar);
        const narSize = nar.length - 1;
        const message = `the NAR is larger than its NarSize of ${narSize} bytes`;
        await assert.rejects(verify(file, { narSize }, { suffix }), {
          name: 'VerifyError',
          code: 'too-large',
          message,
        });
        await assert.rejects(verify(file, {}, { suffix, maxNarSize: narSize }), {
          code: 'too-large',
          message: `the NAR is larger than ${narSize} bytes, the limit`,
        });
      }
    });

    test(`refuses what is no NAR within ${compression}`, async () => {
      for (const size of [1000, 1_000_000]) {
        const nar = narOf(size);
        const cut = compress(compression, nar.subarray(0, nar.length - 8));
        await assert.rejects(verify(cut, {}, { suffix, compression }), {
          code: 'corrupt',
          message: `the NAR is truncated after ${nar.length - 8} bytes`,
        });
        const longer = compress(compression, Buffer.concat([nar, Buffer.alloc(1)]));
        await assert.rejects(verify(longer, {}, { suffix, compression }), {
          code: 'corrupt',
          message: 'bytes after the end of the NAR',
        });
      }
    });
  }

  it('says that it does not know a file', async () => {
    await assert.rejects(verify(Buffer.from('<html>hello</html>')), {
      code: 'unsupported',
      message: 'the file is neither a NAR nor compressed in a form known here',
    });
    await assert.rejects(verify(Buffer.alloc(0)), {
      code: 'corrupt',
      message: 'the file is empty: no byte of a NAR has arrived',
    });
  });

  it('says so too where a file might be lzma and holds no NAR', async () => {
    const header = Buffer.from('5d00008000ffffffffffffffff00', 'hex');
    const text = compressed('lzma', Buffer.from('no NAR'));
    for (const file of [Buffer.alloc(1000), Buffer.concat([header, crypto.randomBytes(500_000)]), header, text]) {
      if (file === undefined) continue;
      await assert.rejects(verify(file), {
        code: 'unsupported',
        message: 'the file is neither a NAR nor compressed in a form known here',
      });
    }
    const nar = narOf(500_000);
    const cut = compressed('lzma', nar)?.subarray(0, -100_000);
    if (cut !== undefined)
      await assert.rejects(verify(cut), { code: 'corrupt', message: 'the lzma data is truncated' });
  });

  const compressed = (compression: Compression, data: Buffer) =>
    hasProgram('xz') ? compress(compression, data) : undefined;

  it('reports a missing file as its own failure, not as a fault of the sender', async () => {
    const missing = verifier.open({ file: path.join(folder.path, 'missing'), maxNarSize: MAX });
    await assert.rejects(missing.finish({ fileSize: 10 }), { name: 'VerifierFailure', code: 'internal' });
  });

  it('says of a file that was cut off who has lost its end: the same again would fail again', async () => {
    for (const size of [1000, 1_000_000]) {
      const nar = narOf(size);
      const short = verifier.open({ file: folder.file(nar), maxNarSize: MAX });
      await assert.rejects(short.finish({ fileSize: nar.length + 1 }), {
        code: 'corrupt',
        message: 'what the server had stored of this is cut off; push it again',
      });
    }
  });

  it('stops a bomb long before its end', async () => {
    const chunk = zlib.zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    const bomb = Buffer.concat([zlib.zstdCompressSync(narOf(5000)), ...Array.from({ length: 500 }, () => chunk)]);
    const started = performance.now();
    await assert.rejects(verify(bomb, { narSize: 10_000_000 }), /bytes after the end of the NAR|larger/);
    // All of its 32 GB would take minutes.
    assert.ok(performance.now() - started < 20_000);
    const gzip = zlib.gzipSync(Buffer.concat([narHead(2 ** 28), Buffer.alloc(2 ** 28)]));
    await assert.rejects(verify(gzip, { narSize: 1000 }), { code: 'too-large' });
  });

  it('verifies a file while it grows', async () => {
    const nar = narOf(4_000_000);
    const file = compress('zstd', nar);
    const growing = folder.file(Buffer.alloc(0));
    const verification = verifier.open({ file: growing, maxNarSize: MAX, aheadOfClaim: true });
    for (let at = 0; at < file.length; at += 150_000) {
      fs.appendFileSync(growing, file.subarray(at, at + 150_000));
      verification.grow(Math.min(file.length, at + 150_000));
      await setTimeout(2);
    }
    assert.equal(verifier.stats().running, 1);
    const facts = await verification.finish({ fileSize: file.length, narSize: nar.length });
    assert.deepEqual(facts, factsOf(file, 'zstd', nar));
    assert.deepEqual(verifier.stats(), { running: 0, queued: 0 });
  });

  it('never reads beyond what it was told', async () => {
    const nar = narOf(2_000_000);
    const file = folder.file(Buffer.concat([nar.subarray(0, 500_000), Buffer.alloc(1_500_000, 'garbage')]));
    const verification = verifier.open({ file, maxNarSize: MAX });
    verification.grow(500_000);
    await setTimeout(50);
    fs.writeFileSync(file, nar);
    assert.deepEqual(await verification.finish({ fileSize: nar.length }), factsOf(nar, 'none', nar));
  });

  it('holds a growing bomb back until the claim, and then stops it', async () => {
    const bytes = 512 * 1024 * 1024;
    const head = narHead(bytes);
    const zeros = Buffer.alloc(1024 * 1024);
    const chunks = [zlib.zstdCompressSync(head)];
    const frame = zlib.zstdCompressSync(zeros);
    for (let i = 0; i < 511; i++) chunks.push(frame);
    const padding = Buffer.alloc(300_000);
    padding.writeUInt32LE(0x184d2a50, 0);
    padding.writeUInt32LE(padding.length - 8, 4);
    const bomb = Buffer.concat([padding, ...chunks]);
    const verification = verifier.open({ file: folder.file(bomb), maxNarSize: MAX, aheadOfClaim: true });
    verification.grow(bomb.length);
    await setTimeout(100);
    assert.equal(verifier.stats().running, 1);
    await assert.rejects(verification.finish({ fileSize: bomb.length, narSize: 1000 }), { code: 'too-large' });
  });

  it('holds the claim against a NAR that was all there before it', async () => {
    const nar = narOf(500_000);
    const verification = verifier.open({ file: folder.file(nar), maxNarSize: MAX, aheadOfClaim: true });
    verification.grow(nar.length);
    await setTimeout(50);
    const claim = { fileSize: nar.length, narSize: nar.length - 8 };
    await assert.rejects(verification.finish(claim), { code: 'too-large' });
  });

  it('blames the file, never itself, for damaged bytes', async () => {
    for (const compression of COMPRESSION_NAMES) {
      if (NEEDS[compression] !== undefined && !hasProgram(NEEDS[compression])) continue;
      const files = [2000, 600_000].map((size) => compress(compression, narOf(size)));
      for (let round = 0; round < 20; round++) {
        const file = Buffer.from(files[round % 2] ?? Buffer.alloc(0));
        for (let i = 0; i <= round % 3; i++) file[crypto.randomInt(file.length)] = crypto.randomInt(256);
        const cut = file.subarray(0, round % 4 === 0 ? crypto.randomInt(file.length) : file.length);
        const [end] = await Promise.allSettled([verify(cut, { narSize: 2_000_000 }, { compression })]);
        if (end?.status === 'rejected') assert.equal(end.reason.name, 'VerifyError', `${compression}: ${end.reason}`);
      }
    }
  });

  it('keeps an early refusal until somebody asks, though the file goes on growing', async () => {
    for (const compression of COMPRESSION_NAMES) {
      if (NEEDS[compression] !== undefined && !hasProgram(NEEDS[compression])) continue;
      const file = compress(compression, Buffer.concat([narOf(300_000).subarray(0, 200), crypto.randomBytes(800_000)]));
      const verification = verifier.open({ file: folder.file(file), compression, maxNarSize: MAX });
      verification.grow(file.length - 100_000);
      await setTimeout(50);
      verification.grow(file.length - 50_000);
      await assert.rejects(verification.finish({ fileSize: file.length }), { code: 'corrupt' });
    }
  });

  it('cancels in any state, and lets go of the file', async () => {
    const nar = narOf(2_000_000);
    const idle = verifier.open({ file: folder.file(nar), maxNarSize: MAX });
    await idle.cancel();
    await assert.rejects(idle.finish({ fileSize: nar.length }), { code: 'cancelled' });
    for (const compression of COMPRESSION_NAMES) {
      if (NEEDS[compression] !== undefined && !hasProgram(NEEDS[compression])) continue;
      const file = compress(compression, nar);
      const tailing = verifier.open({ file: folder.file(file), compression, maxNarSize: MAX });
      tailing.grow(file.length - 1000);
      await setTimeout(30);
      const [cancelled] = await Promise.all([tailing.cancel(), tailing.cancel()]);
      assert.equal(cancelled, undefined);
      await assert.rejects(tailing.finish({ fileSize: file.length }), { code: 'cancelled' });
    }
    assert.deepEqual(verifier.stats(), { running: 0, queued: 0 });
  });

  it('verifies many small files at a time', async () => {
    const nars = Array.from({ length: 300 }, (_, index) => narOf(200 + index * 10));
    const files = nars.map((nar) => zlib.zstdCompressSync(nar));
    const facts = await Promise.all(files.map((file) => verify(file)));
    for (const [index, nar] of nars.entries()) {
      assert.equal(facts[index]?.narHash, crypto.hash('sha256', nar));
    }
  });
});

/** The first bytes of a NAR of one file of `bytes` bytes. */
function narHead(bytes: number): Buffer {
  const [magic, open, length] = narChunks({ type: 'regular', sizeBytes: bytes, chunks: () => [] });
  return Buffer.concat([magic ?? Buffer.alloc(0), open ?? Buffer.alloc(0), length ?? Buffer.alloc(0)]);
}

describe('a verifier with few places', () => {
  const folder = new Folder();
  after(() => folder.remove());

  it('drops idle tails for complete files, and starts them again at their finish', async () => {
    const verifier = new Verifier({ threads: 1, maxConcurrent: 2 });
    const nar = narOf(1_500_000);
    const file = compress('zstd', nar);
    const tails = Array.from({ length: 4 }, () => verifier.open({ file: folder.file(file), maxNarSize: MAX }));
    for (const tail of tails) tail.grow(400_000);
    assert.equal(verifier.stats().running, 2);
    // Dropped and finished at once: the answer of the dropped job must not count.
    const [first] = tails.splice(0, 1);
    const other = verifier.open({ file: folder.file(file), maxNarSize: MAX }).finish({ fileSize: file.length });
    assert.deepEqual(await first?.finish({ fileSize: file.length }), factsOf(file, 'zstd', nar));
    assert.deepEqual(await other, factsOf(file, 'zstd', nar));
    for (const tail of tails) tail.grow(450_000);
    const complete = Array.from({ length: 5 }, () => {
      return verifier.open({ file: folder.file(file), maxNarSize: MAX }).finish({ fileSize: file.length });
    });
    assert.deepEqual(verifier.stats(), { running: 2, queued: 3 });
    for (const facts of await Promise.all(complete)) assert.deepEqual(facts, factsOf(file, 'zstd', nar));
    for (const tail of tails) tail.grow(500_000);
    const ends = tails.map((tail) => tail.finish({ fileSize: file.length }));
    for (const facts of await Promise.all(ends)) assert.deepEqual(facts, factsOf(file, 'zstd', nar));
    assert.deepEqual(verifier.stats(), { running: 0, queued: 0 });
    await verifier.stop();
  });

  it('drops no tail that is being cancelled: whoever cancels it waits for its job', async () => {
    const verifier = new Verifier({ threads: 1, maxConcurrent: 1 });
    const nar = narOf(1_500_000);
    const file = compress('zstd', nar);
    const tail = verifier.open({ file: folder.file(file), maxNarSize: MAX });
    tail.grow(400_000);
    const cancelled = tail.cancel();
    const other = verifier.open({ file: folder.file(file), maxNarSize: MAX }).finish({ fileSize: file.length });
    assert.deepEqual(await other, factsOf(file, 'zstd', nar));
    await cancelled;
    await assert.rejects(tail.finish({ fileSize: file.length }), { code: 'cancelled' });
    assert.deepEqual(verifier.stats(), { running: 0, queued: 0 });
    await verifier.stop();
  });

  it('serves each cache, and each client of it, before the next file of another', async () => {
    const verifier = new Verifier({ threads: 1, maxConcurrent: 1 });
    const nar = narOf(1_000_000);
    const order: string[] = [];
    const verify = (cache: string, client: string) =>
      asCaller({ cache, client }, async () => {
        await verifier.open({ file: folder.file(nar), maxNarSize: MAX }).finish({ fileSize: nar.length });
        order.push(`${cache}${client}`);
      });
    await Promise.all([
      ...['1', '1', '1', '2'].map((client) => verify('a', client)),
      ...['1', '1'].map((client) => verify('b', client)),
    ]);
    assert.deepEqual(order, ['a1', 'b1', 'a2', 'b1', 'a1', 'a1']);
    assert.deepEqual(verifier.stats(), { running: 0, queued: 0 });
    await verifier.stop();
  });

  it('fails only the jobs of a worker that dies, and goes on with a new one', async () => {
    const workerUrl = new URL('./crashing-worker.ts', import.meta.url);
    const verifier = new Verifier({ threads: 1, maxConcurrent: 8, workerUrl });
    const nar = writeNar({ type: 'regular', contents: 'hello' });
    const good = () => verifier.open({ file: folder.file(nar), maxNarSize: MAX }).finish({ fileSize: nar.length });
    await good();
    const crash = verifier.open({ file: path.join(folder.path, 'crash'), maxNarSize: MAX });
    await assert.rejects(crash.finish({ fileSize: 5 }), {
      name: 'VerifierFailure',
      code: 'internal',
      message: 'the verification failed: out of memory; try again',
    });
    assert.deepEqual(await good(), factsOf(nar, 'none', nar));
    await verifier.stop();
  });

  it('cancels everything when it is stopped', async () => {
    const verifier = new Verifier({ threads: 1, maxConcurrent: 1 });
    const nar = narOf(1_000_000);
    const idle = verifier.open({ file: folder.file(nar), maxNarSize: MAX });
    const jobs = Array.from({ length: 3 }, () => {
      return verifier.open({ file: folder.file(nar), maxNarSize: MAX }).finish({ fileSize: nar.length });
    });
    const ends = Promise.allSettled(jobs);
    await verifier.stop();
    for (const end of await ends) assert.ok(end.status === 'rejected' && end.reason.code === 'cancelled');
    await assert.rejects(idle.finish({ fileSize: nar.length }), { code: 'cancelled' });
    await assert.rejects(verifier.open({ file: '/', maxNarSize: 1 }).finish({ fileSize: 1 }), { code: 'cancelled' });
  });
});

describe('the memory of a verifier', () => {
  const folder = new Folder();
  after(() => folder.remove());

  it('does not grow with the NAR', async () => {
    const zeros = Buffer.alloc(4 * 1024 * 1024);
    const sizeBytes = 256 * zeros.length;
    const chunks = () => Array.from({ length: 256 }, () => zeros);
    const parts: Buffer[] = [];
    const narHash = crypto.createHash('sha256');
    for (const part of narChunks({ type: 'regular', sizeBytes, chunks })) {
      narHash.update(part);
      parts.push(zlib.zstdCompressSync(part));
    }
    // Room for more than the small path takes.
    parts.push(zlib.zstdCompressSync(Buffer.alloc(0)));
    const file = Buffer.concat(parts);
    const verifier = new Verifier({ threads: 1 });
    const small = writeNar({ type: 'regular', contents: '' });
    await verifier.open({ file: folder.file(small), maxNarSize: MAX }).finish({ fileSize: small.length });
    const before = process.memoryUsage.rss();
    let peak = before;
    const timer = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 10);
    const verification = verifier.open({ file: folder.file(file), maxNarSize: MAX });
    const facts = await verification.finish({ fileSize: file.length });
    clearInterval(timer);
    assert.equal(facts.narHash, narHash.digest('hex'));
    assert.ok(peak - before < 100 * 1024 * 1024, `grew by ${Math.round((peak - before) / 2 ** 20)} MiB`);
    await verifier.stop();
  });
});
