import * as zlib from 'node:zlib';
import { OUTPUT_CHUNK_BYTES, STREAM_OPTIONS, throughZlib } from './zlib-stream.ts';
import { type FramePiece, ZstdFrames } from './zstd-frames.ts';

// 128 MiB, the window of `zstd --ultra -22` and of `--long`: what Nix' own decoder takes.
const WINDOW_LOG_MAX = 27;
// A frame that is here as a whole is decoded on the spot, without a stream, where its output is small too.
const SMALL_FRAME_BYTES = 64 * 1024;

export const ZSTD_PARAMS = { [zlib.constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX };

/** Decodes any number of zstd frames one after the other. */
export async function* decodeZstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const pieces = piecesOf(source);
  try {
    for (let piece = await pieces.next(); !piece.done; piece = await pieces.next()) {
      const small = decodeSmallFrame(piece.value);
      if (small !== undefined) yield small;
      else {
        const stream = zlib.createZstdDecompress({ ...STREAM_OPTIONS, params: ZSTD_PARAMS });
        yield* throughZlib(frameOf(piece.value, pieces), stream, 'zstd');
      }
    }
  } finally {
    await pieces.return(undefined);
  }
}

async function* piecesOf(source: AsyncIterable<Buffer>): AsyncGenerator<FramePiece, undefined> {
  const frames = new ZstdFrames();
  for await (const chunk of source) yield* frames.split(chunk);
  frames.end();
}

async function* frameOf(first: FramePiece, rest: AsyncGenerator<FramePiece, undefined>): AsyncGenerator<Buffer> {
  yield first.bytes;
  let isOver = first.endsFrame;
  while (!isOver) {
    const { value } = await rest.next();
    if (value === undefined) return;
    yield value.bytes;
    isOver = value.endsFrame;
  }
}

function decodeSmallFrame({ bytes, endsFrame }: FramePiece): Buffer | undefined {
  if (!endsFrame || bytes.length > SMALL_FRAME_BYTES) return undefined;
  try {
    return zlib.zstdDecompressSync(bytes, { maxOutputLength: OUTPUT_CHUNK_BYTES, params: ZSTD_PARAMS });
  } catch {
    // Too much output, or damage, which the stream reports in its own words.
    return undefined;
  }
}
