import * as zlib from 'node:zlib';
import type { Compression } from '../../nix/index.ts';
import { DecoderMemory, type MemoryShare } from './codecs/memory.ts';
import { throughProgram } from './codecs/program.ts';
import { decodeXz } from './codecs/xz.ts';
import { STREAM_OPTIONS, throughZlib, type ZlibDecoder } from './codecs/zlib-stream.ts';
import { decodeZstd } from './codecs/zstd.ts';

/**
 * Turns the bytes of a file into the bytes of a NAR, at the pace of whoever reads. Throws `VerifyError` for data that
 * is damaged, cut off or followed by other bytes, `VerifierFailure` where there is no memory for it. Leaving the loop frees
 * whatever it holds. Without `memory` it waits for that of its thread as long as a client can.
 */
export type Decoder = (source: AsyncIterable<Buffer>, memory?: MemoryShare) => AsyncIterable<Buffer>;

type SharingDecoder = (source: AsyncIterable<Buffer>, memory: MemoryShare) => AsyncIterable<Buffer>;

const MIB = 2 ** 20;
// Nearly all of it are buffers for the output.
const GZIP: ZlibDecoder = { open: () => zlib.createGunzip(STREAM_OPTIONS), format: 'gzip', bytes: 2 * MIB };
// Its window is 16 MiB at most, and known only inside.
const BR: ZlibDecoder = {
  open: () => zlib.createBrotliDecompress(STREAM_OPTIONS),
  format: 'br',
  bytes: 18 * MIB,
};
const BZIP2 = { program: 'bzip2', args: ['-dc'], refusedWarning: /trailing garbage/ };
const LZ4 = { program: 'lz4', args: ['-dc'] };

const DECODERS: Readonly<Record<Compression, SharingDecoder>> = {
  none: (source) => source,
  zstd: decodeZstd,
  gzip: (source, memory) => throughZlib(source, GZIP, memory),
  br: (source, memory) => throughZlib(source, BR, memory),
  xz: decodeXz,
  lzma: (source, memory) => decodeXz(source, memory, 'lzma'),
  bzip2: (source, memory) => throughProgram(source, BZIP2, memory),
  lz4: (source, memory) => throughProgram(source, LZ4, memory),
};

/** Decoders of bodies that are no NARs, in whichever thread they run. */
const ofThread = new DecoderMemory();
/** As long as failures behind a write are waited for: nix before 2.33.2 cannot repeat a PUT. */
const BODY_PATIENCE_MS = 120_000;

/** The decoder of a compression. `none` gives the bytes as they are. */
export function decoderOf(compression: Compression): Decoder {
  const decode = DECODERS[compression];
  return (source, memory = ofThread.open({ isUrgent: false, patienceMs: BODY_PATIENCE_MS })) => decode(source, memory);
}
