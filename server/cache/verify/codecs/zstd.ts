import * as zlib from 'node:zlib';
import type { MemoryShare } from './memory.ts';
import { OUTPUT_CHUNK_BYTES, STREAM_OPTIONS, throughZlib } from './zlib-stream.ts';
import { type FramePiece, WINDOW_LOG_MAX, ZstdFrames } from './zstd-frames.ts';

// A frame that is here as a whole is decoded on the spot, without a stream, where its output is small too.
const SMALL_FRAME_BYTES = 64 * 1024;
/** What a decoder takes beside the window: buffers for blocks, tables. */
const OVERHEAD_BYTES = 1024 * 1024;

export const ZSTD_PARAMS = { [zlib.constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX };

/** Decodes any number of zstd frames one after the other. */
export async function* decodeZstd(source: AsyncIterable<Buffer>, memory: MemoryShare): AsyncGenerator<Buffer> {
  const frames = new ZstdFrames();
  const pieces = piecesOf(source, frames);
  try {
    for (let piece = await pieces.next(); !piece.done; piece = await pieces.next()) {
      const small = decodeSmallFrame(piece.value);
      if (small !== undefined) {
        yield small;
        continue;
      }
      const head = [piece.value];
      // The first pieces may stop within the header.
      while (frames.windowBytes === undefined) {
        const next = await pieces.next();
        if (next.done) return;
        head.push(next.value);
      }
      const open = () => zlib.createZstdDecompress({ ...STREAM_OPTIONS, params: ZSTD_PARAMS });
      const decoder = { open, format: 'zstd', bytes: frames.windowBytes + OVERHEAD_BYTES };
      yield* throughZlib(frameOf(head, pieces), decoder, memory);
    }
  } finally {
    await pieces.return(undefined);
  }
}

async function* piecesOf(source: AsyncIterable<Buffer>, frames: ZstdFrames): AsyncGenerator<FramePiece, undefined> {
  for await (const chunk of source) yield* frames.split(chunk);
  frames.end();
}

async function* frameOf(
  head: readonly FramePiece[],
  rest: AsyncGenerator<FramePiece, undefined>,
): AsyncGenerator<Buffer> {
  let isOver = false;
  for (const piece of head) {
    yield piece.bytes;
    isOver = piece.endsFrame;
  }
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
