import * as assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import create from 'node-liblzma/wasm/liblzma.js';
import { verified, verifyBody } from '../../../../server/cache/push/verified.ts';
import { DecoderMemory, MAX_DECODER_BYTES, type MemoryShare } from '../../../../server/cache/verify/codecs/memory.ts';
import { throughProgram } from '../../../../server/cache/verify/codecs/program.ts';
import { XzLibraryDecoder } from '../../../../server/cache/verify/codecs/xz-library.ts';
import { translate } from '../../../../server/cache/verify/codecs/zlib-stream.ts';
import { type Facts, Verifier, VerifierFailure, VerifyError } from '../../../../server/cache/verify/index.ts';
import { type Compression, writeNar } from '../../../../server/nix/index.ts';
import { Folder, factsOf, hasProgram, pipe } from './support.ts';

const MAX = 2 ** 40;
const MIB = 2 ** 20;
const nar = writeNar({ type: 'regular', contents: crypto.randomBytes(600_000) });
const xzTest = hasProgram('xz') ? it : it.skip;
const zstdTest = hasProgram('zstd') ? it : it.skip;

interface Sample {
  readonly compression: Compression;
  readonly file: Buffer;
}

function sample(compression: Compression, ...command: string[]): Sample {
  return { compression, file: pipe(command, nar) };
}

async function* pieces(file: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < file.length; at += 100_000) yield file.subarray(at, at + 100_000);
}

describe('the memory of many decoders on one thread', () => {
  let verifier: Verifier;
  const folder = new Folder();
  beforeEach(() => {
    verifier = new Verifier({ threads: 1, maxConcurrent: 100 });
  });
  afterEach(() => verifier.stop());
  after(() => folder.remove());

  async function acceptAll(samples: readonly Sample[]): Promise<void> {
    // Every one is in the middle of its data before any of them ends.
    const streams = samples.map(({ compression }) => verifier.openStream({ compression, maxNarSize: MAX }));
    for (const [index, stream] of streams.entries()) await stream.write(at(samples, index).file.subarray(0, 300_000));
    const verdicts = streams.map(async (stream, index): Promise<void> => {
      const { file, compression } = at(samples, index);
      await stream.write(file.subarray(300_000));
      assert.deepEqual(await stream.finish(), factsOf(file, compression, nar));
    });
    await Promise.all(verdicts);
  }

  xzTest('is enough for 40 streams of xz -6 and eight of xz -9', async () => {
    const [six, nine] = [sample('xz', 'xz', '-6', '-c'), sample('xz', 'xz', '-9', '-c')];
    await acceptAll([...Array(20).fill(six), ...Array(4).fill(nine), ...Array(20).fill(six), ...Array(4).fill(nine)]);
  });

  zstdTest('is enough for windows of 128 MiB beside xz', async () => {
    const long = sample('zstd', 'zstd', '--long=27', '-c');
    await acceptAll([...Array(6).fill(long), ...Array(hasProgram('xz') ? 10 : 0).fill(sample('xz', 'xz', '-9', '-c'))]);
  });

  xzTest('goes from streams that stall to what is complete, and they begin again at their end', async () => {
    const { file, compression } = sample('xz', 'xz', '-9', '-c');
    const request = { compression, maxNarSize: MAX };
    const stalled = Array.from({ length: 5 }, () => verifier.openStream({ ...request, isRepeatable: true }));
    for (const stream of stalled) await stream.write(file.subarray(0, 300_000));
    await Promise.all(Array.from({ length: 6 }, () => verifyBody(verifier, request, pieces(file))));
    for (const stream of stalled) {
      await stream.write(file.subarray(300_000));
      const again = () => verifyBody(verifier, request, pieces(file));
      assert.deepEqual(await verified(() => stream.finish(), again, 0), factsOf(file, compression, nar));
    }
  });

  xzTest('goes from files that stall to what is complete, and they begin again at their end', async () => {
    const { file, compression } = sample('xz', 'xz', '-9', '-c');
    const name = folder.file(file);
    const open = () => verifier.open({ file: name, compression, maxNarSize: MAX });
    const stalled = Array.from({ length: 5 }, open);
    for (const verification of stalled) verification.grow(300_000);
    const claim = { fileSize: file.length, narSize: nar.length };
    const verdicts = await Promise.all(Array.from({ length: 6 }, () => open().finish(claim)));
    verdicts.push(...(await Promise.all(stalled.map((verification) => verification.finish(claim)))));
    for (const facts of verdicts) assert.deepEqual(facts, factsOf(file, compression, nar));
  });

  xzTest('cancels what stalls or waits for memory, and all of it is there for the next', async () => {
    const { file, compression } = sample('xz', 'xz', '-9', '-c');
    const name = folder.file(file);
    const open = () => verifier.open({ file: name, compression, maxNarSize: MAX });
    for (let round = 0; round < 3; round++) {
      const stalled = Array.from({ length: 5 }, open);
      for (const verification of stalled) verification.grow(300_000);
      await Promise.all(stalled.map((verification) => verification.cancel()));
    }
    const facts: Facts = await open().finish({ fileSize: file.length });
    assert.equal(facts.narHash, factsOf(file, compression, nar).narHash);
  });
});

describe('the memory of a thread', () => {
  const need = fc.integer({ min: 1, max: MAX_DECODER_BYTES });
  const decoder = fc.record({ needs: fc.array(need, { minLength: 1, maxLength: 4 }), isUrgent: fc.boolean() });

  it('comes to every decoder in the end, whatever each asks for, and stays within its bounds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(decoder, { maxLength: 12 }), fc.integer({ min: 10, max: 300 }), async (list, total) => {
        const memory = new DecoderMemory(total * MIB);
        let most = 0;
        const decode = async (share: MemoryShare, needs: readonly number[], rest: Promise<void>): Promise<void> => {
          try {
            for (const bytes of needs) {
              await share.hold(bytes);
              most = Math.max(most, memory.heldBytes);
              assert.ok(share.heldBytes >= bytes);
              await new Promise(setImmediate);
            }
            await rest;
          } finally {
            share.release();
          }
        };
        const putOff = new VerifierFailure('put-off', 'room was made');
        // What still comes in holds what it has until it is told to give way.
        const growing = list
          .filter((it) => !it.isUrgent)
          .map(({ needs }) => {
            const rest = Promise.withResolvers<void>();
            const onGiveWay = () => {
              share.cancel(putOff);
              rest.resolve();
            };
            const share: MemoryShare = memory.open({ isUrgent: false, patienceMs: 2 ** 30, onGiveWay });
            const over = decode(share, needs, rest.promise).catch((error: unknown) => assert.equal(error, putOff));
            return { onGiveWay, over };
          });
        const urgent = list.filter((it) => it.isUrgent);
        const open = () => memory.open({ isUrgent: true, patienceMs: 0 });
        await Promise.all(urgent.map(({ needs }) => decode(open(), needs, Promise.resolve())));
        for (const { onGiveWay } of growing) onGiveWay();
        await Promise.all(growing.map(({ over }) => over));
        assert.equal(memory.heldBytes, 0);
        assert.ok(most <= total * MIB + MAX_DECODER_BYTES, `${most} of ${total} MiB`);
      }),
    );
  });

  it('is waited for by what still comes in until its patience is over, and no longer', async () => {
    const memory = new DecoderMemory(100);
    const first = memory.open({ isUrgent: true, patienceMs: 0 });
    await first.hold(100);
    const second = memory.open({ isUrgent: false, patienceMs: 1 });
    await assert.rejects(second.hold(1), { name: 'VerifierFailure', code: 'put-off' });
    first.release();
    await second.hold(100);
    assert.equal(memory.heldBytes, 100);
  });

  it('goes to many small ones no more once a large one that is complete waits', async () => {
    const memory = new DecoderMemory(100);
    const urgent = () => memory.open({ isUrgent: true, patienceMs: 0 });
    const [small, large, late] = [urgent(), urgent(), urgent()];
    await small.hold(50);
    const order: string[] = [];
    const waits = [large.hold(80).then(() => order.push('large')), late.hold(10).then(() => order.push('late'))];
    small.release();
    await Promise.all(waits);
    assert.deepEqual(order, ['large', 'late']);
  });
});

describe('a lack of memory', () => {
  const share = () => new DecoderMemory().open({ isUrgent: true, patienceMs: 0 });
  const NO_MEMORY = { name: 'VerifierFailure', code: 'no-memory' };

  it('is told from damage by the codes of zlib, zstd and brotli', () => {
    const codes = [
      'Z_MEM_ERROR',
      'ZSTD_error_memory_allocation',
      'ERR__ERROR_ALLOC_RING_BUFFER_1',
      'ERR_OUT_OF_MEMORY',
    ];
    for (const code of codes) {
      const found = translate(Object.assign(new Error('failed'), { code }), 'some');
      assert.ok(found instanceof VerifierFailure && found.code === 'no-memory', code);
    }
    for (const code of ['Z_DATA_ERROR', 'ZSTD_error_corruption_detected', 'ERR__ERROR_FORMAT_EXUBERANT_NIBBLE'])
      assert.ok(translate(Object.assign(new Error('failed'), { code }), 'some') instanceof VerifyError, code);
  });

  xzTest('is told from damage where the heap of the xz library is full', async () => {
    const wasmBinary = fs.readFileSync(fileURLToPath(import.meta.resolve('node-liblzma/wasm/liblzma.wasm')));
    const library = await create({ wasmBinary });
    const decoder = new XzLibraryDecoder(library, 'xz', share());
    while (library._malloc(MIB) !== 0);
    const decode = async () => {
      for await (const _ of decoder.write(pipe(['xz', '-6', '-c'], nar)));
    };
    await assert.rejects(decode(), NO_MEMORY);
  });

  for (const [how, script] of [
    ['says so', "echo 'some: Allocation error : not enough memory' >&2; exit 1"],
    ['is killed', 'kill -9 $$'],
  ] as const) {
    it(`is told from damage where a program ${how}`, async () => {
      const decode = async () => {
        const decoder = { program: 'sh', args: ['-c', script] };
        for await (const _ of throughProgram(pieces(nar), decoder, share()));
      };
      await assert.rejects(decode(), NO_MEMORY);
    });
  }

  it('is not told where one decoder alone takes more than its thread has', async () => {
    const file = zlib.gzipSync(nar);
    const verifier = new Verifier({ threads: 1, decoderBytes: MIB });
    try {
      const facts = await verifyBody(verifier, { maxNarSize: MAX }, pieces(file));
      assert.deepEqual(facts, factsOf(file, 'gzip', nar));
    } finally {
      await verifier.stop();
    }
  });
});

function at(samples: readonly Sample[], index: number): Sample {
  const found = samples[index];
  if (found === undefined) throw new Error('no such sample');
  return found;
}
