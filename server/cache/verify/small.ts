import * as crypto from 'node:crypto';
import * as zlib from 'node:zlib';
import { type Compression, checkNar, SNIFF_BYTES, sniffCompression } from '../../nix/index.ts';
import type { MemoryShare } from './codecs/memory.ts';
import { decodeSmallXz } from './codecs/xz.ts';
import { ZSTD_PARAMS } from './codecs/zstd.ts';
import { ZstdFrames } from './codecs/zstd-frames.ts';
import { VerifierFailure, VerifyError } from './errors.ts';
import type { Facts } from './facts.ts';
import type { VerifyRequest } from './messages.ts';
import type { SizeLimit } from './nar-sink.ts';

/** Files below this are read and verified in one go: streams cost more than the work itself. */
export const SMALL_FILE_BYTES = 256 * 1024;
// What one small file may make of the worker's memory.
const SMALL_NAR_BYTES = 4 * 1024 * 1024;

/** Throws, or gives nothing, where the output would be longer than `maxBytes`. */
type SmallDecoder = (file: Buffer, maxBytes: number, memory: MemoryShare) => Buffer | Promise<Buffer | undefined>;

const SMALL_DECODERS: Partial<Record<Compression, SmallDecoder>> = {
  none: (file) => file,
  zstd: decodeZstdFrames,
  xz: decodeSmallXz,
  gzip: (file, maxOutputLength) => consumed(file, 'gzip', zlib.gunzipSync(file, { maxOutputLength, info: true })),
  br: (file, maxOutputLength) => consumed(file, 'br', zlib.brotliDecompressSync(file, { maxOutputLength, info: true })),
};

/**
 * Verifies a small file that is in memory. Undefined when it is better streamed: its compression has no decoder that
 * runs on the spot, it turns out to be big, or it is damaged (the streams then say how).
 */
export async function verifySmall(
  file: Buffer,
  request: VerifyRequest,
  limit: SizeLimit,
  memory: MemoryShare,
): Promise<Facts | undefined> {
  const compression = compressionOf(file, request);
  const decode = SMALL_DECODERS[compression];
  if (decode === undefined) return undefined;
  const nar = await decodeWithin((maxBytes) => decode(file, maxBytes, memory), limit);
  if (nar === undefined) return undefined;
  limit.check(nar.length);
  checkNar(nar);
  const fileHash = crypto.hash('sha256', file);
  return {
    fileHash,
    fileSize: file.length,
    compression,
    narHash: nar === file ? fileHash : crypto.hash('sha256', nar),
    narSize: nar.length,
  };
}

/** The compression asked for, or what the first bytes tell. Throws `VerifyError`. */
export function compressionOf(firstBytes: Buffer, request: VerifyRequest): Compression {
  const { compression, suffix = '' } = request;
  if (firstBytes.length === 0) throw new VerifyError('corrupt', 'the file is empty: no byte of a NAR has arrived');
  const found = compression ?? sniffCompression(firstBytes.subarray(0, SNIFF_BYTES), suffix);
  if (found === undefined) throw noNar();
  return found;
}

/** What is told of bytes that are nothing that is known. */
export function noNar(): VerifyError {
  return new VerifyError('unsupported', 'the file is neither a NAR nor compressed in a form known here');
}

async function decodeWithin(
  decode: (maxBytes: number) => Buffer | Promise<Buffer | undefined>,
  limit: SizeLimit,
): Promise<Buffer | undefined> {
  try {
    return await decode(Math.min(limit.bytes, SMALL_NAR_BYTES));
  } catch (error) {
    if (error instanceof VerifyError || error instanceof VerifierFailure) throw error;
    return undefined;
  }
}

interface WithEngine {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

function consumed(file: Buffer, format: string, result: Buffer | WithEngine): Buffer {
  if (Buffer.isBuffer(result)) return result;
  if (result.engine.bytesWritten !== file.length) {
    throw new VerifyError('corrupt', `bytes after the end of the ${format} data`);
  }
  return result.buffer;
}

function decodeZstdFrames(file: Buffer, maxBytes: number): Buffer {
  const frames = new ZstdFrames();
  const parts: Buffer[] = [];
  let left = maxBytes;
  for (const { bytes, endsFrame } of frames.split(file)) {
    if (!endsFrame) break;
    const part = zlib.zstdDecompressSync(bytes, { maxOutputLength: Math.max(left, 1), params: ZSTD_PARAMS });
    left -= part.length;
    parts.push(part);
  }
  frames.end();
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
