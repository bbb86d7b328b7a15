import { findProgram, throughProgram } from './program.ts';
import { loadXzLibrary, XzLibraryDecoder } from './xz-library.ts';

// `xz -9` needs 65 MiB; Nix writes -6, which needs 9. Memory of WebAssembly is never given back.
const MEMORY_LIMIT_BYTES = 128 * 1024 * 1024;

/**
 * Decodes xz: one stream or several, of any number of blocks. The system's program is twice as fast as the library
 * and runs beside the hashing, but takes some milliseconds to start: small files are better off with the library.
 */
export function decodeXz(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  if (findProgram('xz') === undefined) return decodeXzByLibrary(source);
  return throughProgram(source, {
    program: 'xz',
    args: ['--decompress', '--stdout', '--format=xz', '--threads=1', `--memlimit-decompress=${MEMORY_LIMIT_BYTES}`],
  });
}

/** The way without the program. */
export async function* decodeXzByLibrary(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const decoder = new XzLibraryDecoder(await loadXzLibrary(), MEMORY_LIMIT_BYTES);
  try {
    for await (const chunk of source) yield* decoder.write(chunk);
    decoder.end();
  } finally {
    decoder.free();
  }
}

/** Decodes a small file in memory. Undefined when it gives more than `maxBytes`. */
export async function decodeSmallXz(file: Buffer, maxBytes: number): Promise<Buffer | undefined> {
  const decoder = new XzLibraryDecoder(await loadXzLibrary(), MEMORY_LIMIT_BYTES);
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for (const part of decoder.write(file)) {
      size += part.length;
      if (size > maxBytes) return undefined;
      parts.push(part);
    }
    decoder.end();
  } finally {
    decoder.free();
  }
  return Buffer.concat(parts);
}
