import * as zlib from 'node:zlib';
import type { Compression } from '../../nix/index.ts';
import { throughProgram } from './codecs/program.ts';
import { decodeXz } from './codecs/xz.ts';
import { STREAM_OPTIONS, throughZlib } from './codecs/zlib-stream.ts';
import { decodeZstd } from './codecs/zstd.ts';

/**
 * Turns the bytes of a file into the bytes of a NAR, at the pace of whoever reads. Throws `VerifyError` for data that
 * is damaged, cut off or followed by other bytes. Leaving the loop frees whatever it holds.
 */
export type Decoder = (source: AsyncIterable<Buffer>) => AsyncIterable<Buffer>;

const DECODERS: Readonly<Record<Compression, Decoder>> = {
  none: (source) => source,
  zstd: decodeZstd,
  gzip: (source) => throughZlib(source, zlib.createGunzip(STREAM_OPTIONS), 'gzip'),
  br: (source) => throughZlib(source, zlib.createBrotliDecompress(STREAM_OPTIONS), 'br'),
  xz: decodeXz,
  bzip2: (source) => throughProgram(source, { program: 'bzip2', args: ['-dc'], refusedWarning: /trailing garbage/ }),
  lz4: (source) => throughProgram(source, { program: 'lz4', args: ['-dc'] }),
};

/** The decoder of a compression. `none` gives the bytes as they are. */
export function decoderOf(compression: Compression): Decoder {
  return DECODERS[compression];
}
