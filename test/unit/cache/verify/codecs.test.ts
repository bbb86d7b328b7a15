import * as assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import * as zlib from 'node:zlib';
import fc from 'fast-check';
import { ZstdFrames } from '../../../../server/cache/verify/codecs/zstd-frames.ts';
import { decoderOf, VerifyError } from '../../../../server/cache/verify/index.ts';
import { COMPRESSION_NAMES, type Compression } from '../../../../server/nix/index.ts';
import { compress, hasProgram, narOf, pipe } from './support.ts';

async function* inChunks(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function decode(compression: Compression, data: Buffer, chunkBytes = 50_000): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of decoderOf(compression)(inChunks(data, chunkBytes))) parts.push(part);
  return Buffer.concat(parts);
}

async function refusal(compression: Compression, data: Buffer, chunkBytes?: number): Promise<string> {
  try {
    await decode(compression, data, chunkBytes);
  } catch (error) {
    assert.ok(error instanceof VerifyError, String(error));
    assert.match(error.message, /^[ -~]{1,200}$/);
    return error.message;
  }
  return 'accepted';
}

const nar = narOf(1_500_000);
const compressed = COMPRESSION_NAMES.filter((name) => name !== 'none');
const NEEDS: Partial<Record<Compression, string>> = { bzip2: 'bzip2', lz4: 'lz4', lzma: 'xz', xz: 'xz' };

for (const compression of compressed) {
  describe(`decoding ${compression}`, () => {
    const program = NEEDS[compression];
    const isHere = program === undefined || hasProgram(program);
    const test = isHere ? it : it.skip;
    let file: Buffer = Buffer.alloc(0);
    before(() => {
      if (isHere) file = compress(compression, nar);
    });

    test('gives back what was compressed, whatever the chunks', async () => {
      for (const size of [1000, 65_537, file.length]) assert.ok((await decode(compression, file, size)).equals(nar));
    });

    if (compression !== 'br' && compression !== 'lzma') {
      test('takes streams one after the other', async () => {
        const [a, b] = [nar.subarray(0, 400_000), nar.subarray(400_000)];
        const both = Buffer.concat([compress(compression, a), compress(compression, b)]);
        for (const size of [997, 100_000, both.length]) assert.ok((await decode(compression, both, size)).equals(nar));
      });
    }

    test('refuses bytes behind the end', async () => {
      for (const junk of [Buffer.from('junk!'), Buffer.alloc(5), Buffer.from([0]), file.subarray(0, 7)]) {
        for (const size of [50_000, file.length, file.length + 100]) {
          const message = await refusal(compression, Buffer.concat([file, junk]), size);
          assert.match(message, /^(bytes after the end of the|the) \w+ data( is (truncated|damaged).*)?$/);
        }
      }
    });

    test('refuses a cut at any place', async () => {
      for (const length of [1, 5, 20, 1000, file.length - 9, file.length - 4, file.length - 1]) {
        assert.match(await refusal(compression, file.subarray(0, length)), /truncated|damaged/, `cut at ${length}`);
      }
    });

    test('refuses damage, or what it gives differs', async () => {
      const damaged = Buffer.from(file);
      for (let at = 100; at < file.length; at += 20_011) damaged[at] = (damaged[at] ?? 0) ^ 0x55;
      try {
        assert.ok(!(await decode(compression, damaged)).equals(nar));
      } catch (error) {
        assert.ok(error instanceof VerifyError);
      }
    });

    test('passes on an error of its source, and stops it when it is left', async () => {
      async function* failing() {
        yield file.subarray(0, 10_000);
        throw new Error('the disk is gone');
      }
      const all = async () => {
        for await (const _part of decoderOf(compression)(failing()));
      };
      await assert.rejects(all(), /the disk is gone/);
      for await (const part of decoderOf(compression)(inChunks(file, 1000))) {
        assert.ok(part.length > 0);
        break;
      }
    });
  });
}

describe('decoding zstd', () => {
  const skippable = Buffer.concat([Buffer.from('5a2a4d1805000000', 'hex'), Buffer.from('hello')]);

  it('takes skippable frames before, between and behind', async () => {
    const a = zlib.zstdCompressSync(nar.subarray(0, 700_000));
    const b = zlib.zstdCompressSync(nar.subarray(700_000));
    const file = Buffer.concat([skippable, a, skippable, skippable, b, skippable]);
    for (const size of [999, file.length]) assert.ok((await decode('zstd', file, size)).equals(nar));
    assert.equal([...pieces(file, 1)].filter(({ endsFrame }) => endsFrame).length, 2);
  });

  const variants = [
    ['-T2', '-B512KiB'],
    ['--check'],
    ['--no-check'],
    ['--ultra', '-22'],
    ['--long=27'],
    ['-1', '--single-thread'],
  ];
  for (const args of variants) {
    (hasProgram('zstd') ? it : it.skip)(`takes what zstd ${args.join(' ')} makes`, async () => {
      assert.ok((await decode('zstd', pipe(['zstd', '-qc', ...args], nar))).equals(nar));
    });
  }

  (hasProgram('pzstd') ? it : it.skip)('takes what pzstd makes', async () => {
    assert.ok((await decode('zstd', pipe(['pzstd', '-qc', '-p', '2'], nar))).equals(nar));
  });

  (hasProgram('zstd') ? it : it.skip)('tells of a window above 128 MiB', async () => {
    const file = pipe(['zstd', '-qc', '--long=28'], nar);
    for (const size of [1, 3, 50_000]) {
      const told = /^the zstd data has a window of 256 MiB: compress with one of 128 MiB or less \(--long=27\)$/;
      assert.match(await refusal('zstd', file, size), told);
    }
  });

  function* pieces(file: Buffer, size: number) {
    const frames = new ZstdFrames();
    for (let at = 0; at < file.length; at += size) yield* frames.split(file.subarray(at, at + size));
    frames.end();
  }

  it('finds the same frames whatever the chunks', () => {
    const frame = fc
      .tuple(fc.nat(300_000), fc.boolean())
      .map(([size, isRandom]) => zlib.zstdCompressSync(isRandom ? crypto.randomBytes(size) : Buffer.alloc(size)));
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 400_000 }),
        (frames, size) => {
          const found: Buffer[] = [];
          let open: Buffer[] = [];
          for (const { bytes, endsFrame } of pieces(Buffer.concat(frames), size)) {
            open.push(bytes);
            if (!endsFrame) continue;
            found.push(Buffer.concat(open));
            open = [];
          }
          assert.ok(found.length === frames.length && found.every((bytes, at) => frames[at]?.equals(bytes)));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('refuses a file of countless empty frames', async () => {
    const empty = zlib.zstdCompressSync(Buffer.alloc(0));
    const frames = new ZstdFrames();
    const thousands = Buffer.concat(Array.from({ length: 10_000 }, () => empty));
    assert.throws(() => {
      for (let i = 0; i < 30; i++) for (const _piece of frames.split(thousands));
    }, /more than 262144 frames/);
  });
});

describe('decoding xz', () => {
  (hasProgram('xz') ? it : it.skip)(
    'takes padding of four zeros between streams and refuses other counts',
    async () => {
      const [a, b] = [compress('xz', nar.subarray(0, 9999)), compress('xz', nar.subarray(9999))];
      assert.ok((await decode('xz', Buffer.concat([a, Buffer.alloc(8), b, Buffer.alloc(4)]))).equals(nar));
      assert.match(await refusal('xz', Buffer.concat([a, Buffer.alloc(3), b])), /bytes after the end/);
    },
  );

  for (const check of ['none', 'crc32', 'crc64', 'sha256']) {
    (hasProgram('xz') ? it : it.skip)(`takes the check ${check}`, async () => {
      assert.ok((await decode('xz', pipe(['xz', '-c', `--check=${check}`, '-0'], nar))).equals(nar));
    });
  }

  (hasProgram('xz') ? it : it.skip)('refuses a file of countless empty streams', async () => {
    const empty = pipe(['xz', '-c'], Buffer.alloc(0));
    const streams = Buffer.concat(Array.from({ length: 2 ** 18 + 1 }, () => empty));
    assert.equal(await refusal('xz', streams), 'the xz data has more than 262144 streams');
  });
});

describe('decoding by a program', () => {
  it('says which one to install where it is missing', async () => {
    const { PATH } = process.env;
    process.env.PATH = '/nonexistent';
    try {
      const message = await refusal('bzip2', Buffer.from('BZh9'));
      assert.match(message, /^bzip2 data cannot be decoded: install the program bzip2 on the server/);
    } finally {
      process.env.PATH = PATH;
    }
  });
});
