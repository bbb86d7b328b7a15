import { once } from 'node:events';
import type * as zlib from 'node:zlib';
import { buffers } from '../../../buffers/index.ts';
import { VerifierFailure, VerifyError } from '../errors.ts';
import type { MemoryShare } from './memory.ts';

// The default of 16 KiB costs a trip to the thread pool for every piece of it. Below the 256 KiB from which on memory comes
// from the kernel each time (hack/lib/launch.mjs): a fifth of the processor time of a large push.
export const OUTPUT_CHUNK_BYTES = 192 * 1024;
// Room for more than one chunk, so that zlib decodes the next ones while the last one is being hashed.
const OUTPUT_CHUNKS = 4;

// zlib passes these on to its stream, but its types do not say so. Chunks count as objects: else those that wait would be
// copied into a larger one when they are read.
export const STREAM_OPTIONS = {
  chunkSize: OUTPUT_CHUNK_BYTES,
  readableObjectMode: true,
  readableHighWaterMark: OUTPUT_CHUNKS,
};

type ZlibStream = zlib.Gunzip | zlib.BrotliDecompress | zlib.ZstdDecompress;

export interface ZlibDecoder {
  readonly open: () => ZlibStream;
  /** What errors call the data. */
  readonly format: string;
  /** Memory that it takes at most. */
  readonly bytes: number;
}

/** Runs `source` through one zlib decoder in the thread pool, once there is memory for it. */
export async function* throughZlib(
  source: AsyncIterable<Buffer>,
  { open, format, bytes }: ZlibDecoder,
  memory: MemoryShare,
): AsyncGenerator<Buffer> {
  try {
    await memory.hold(bytes);
    yield* throughStream(source, opened(open, format), format);
  } finally {
    memory.release();
  }
}

function opened(open: () => ZlibStream, format: string): ZlibStream {
  try {
    return open();
  } catch (error) {
    throw translate(error, format);
  }
}

/** Node stops without a word where the data ends by its own account: bytes behind that are found by counting. */
async function* throughStream(
  source: AsyncIterable<Buffer>,
  stream: ZlibStream,
  format: string,
): AsyncGenerator<Buffer> {
  const feeding = feed(source, stream);
  // Awaited below; until then a failure must not count as unhandled.
  feeding.catch(() => {});
  try {
    for await (const chunk of stream) {
      // zlib fills a buffer to its end before it makes the next one.
      buffers.adopt(chunk);
      yield chunk;
    }
    const fedBytes = await feeding;
    if (fedBytes !== stream.bytesWritten) throw new VerifyError('corrupt', `bytes after the end of the ${format} data`);
  } catch (error) {
    throw translate(error, format);
  } finally {
    stream.destroy();
  }
}

async function feed(source: AsyncIterable<Buffer>, stream: ZlibStream): Promise<number> {
  let fedBytes = 0;
  // Either end of the stream releases a writer that nobody will ever drain.
  const over = new AbortController();
  stream.once('end', () => over.abort());
  stream.once('close', () => over.abort());
  try {
    for await (const chunk of source) {
      if (over.signal.aborted) return fedBytes + chunk.length;
      fedBytes += chunk.length;
      if (!stream.write(chunk)) await once(stream, 'drain', { signal: over.signal });
    }
    stream.end();
  } catch (error) {
    if (over.signal.aborted) return fedBytes;
    // Whoever reads the output learns it from there.
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
  }
  return fedBytes;
}

/** zlib, zstd and brotli each have a name for it; brotli's end in which table it was (`ERR_..._ALLOC_...`). */
const NO_MEMORY =
  /^(Z_MEM_ERROR|ERR_ZLIB_INITIALIZATION_FAILED|ERR_OUT_OF_MEMORY|ZSTD_error_memory_allocation)$|_ALLOC_/;
const DAMAGE = /^(Z_|ZSTD_|ERR__ERROR_|ERR_BROTLI|ERR_ZSTD|ERR_PADDING)/;

/** What a decoder's own error means: bytes that are bad, no memory, or something else, which stays as it is. */
export function translate(error: unknown, format: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code !== 'string') return error;
  if (NO_MEMORY.test(code)) return new VerifierFailure('no-memory', `no memory for a decoder of ${format} data`);
  if (!DAMAGE.test(code)) return error;
  return code === 'Z_BUF_ERROR'
    ? new VerifyError('corrupt', `the ${format} data is truncated`)
    : new VerifyError('corrupt', `the ${format} data is damaged`);
}
