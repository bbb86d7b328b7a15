import { once } from 'node:events';
import type * as zlib from 'node:zlib';
import { VerifyError } from '../errors.ts';

// The default of 16 KiB costs a trip to the thread pool for every piece of it.
export const OUTPUT_CHUNK_BYTES = 256 * 1024;
// Room for more than one chunk, so that zlib decodes the next ones while the last one is being hashed.
const OUTPUT_BUFFER_BYTES = 4 * OUTPUT_CHUNK_BYTES;

// zlib passes these on to its stream, but its types do not say so.
export const STREAM_OPTIONS = { chunkSize: OUTPUT_CHUNK_BYTES, readableHighWaterMark: OUTPUT_BUFFER_BYTES };

type ZlibStream = zlib.Gunzip | zlib.BrotliDecompress | zlib.ZstdDecompress;

/**
 * Runs `source` through one zlib decoder in the thread pool. Node stops without a word where the data ends by its own
 * account: bytes behind that are found by counting. `format` is what errors call the data.
 */
export async function* throughZlib(
  source: AsyncIterable<Buffer>,
  stream: ZlibStream,
  format: string,
): AsyncGenerator<Buffer> {
  const feeding = feed(source, stream);
  // Awaited below; until then a failure must not count as unhandled.
  feeding.catch(() => {});
  try {
    for await (const chunk of stream) yield chunk;
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

function translate(error: unknown, format: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code !== 'string' || !/^(Z_|ZSTD_|ERR__ERROR_|ERR_BROTLI|ERR_ZSTD|ERR_PADDING)/.test(code)) return error;
  return code === 'Z_BUF_ERROR'
    ? new VerifyError('corrupt', `the ${format} data is truncated`)
    : new VerifyError('corrupt', `the ${format} data is damaged`);
}
