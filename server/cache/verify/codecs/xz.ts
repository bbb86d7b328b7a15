import { setImmediate } from 'node:timers/promises';
import { loadXzLibrary, XzLibraryDecoder } from './xz-library.ts';

// `xz -9` needs 65 MiB; Nix writes -6, which needs 9. WebAssembly never gives memory back.
const MEMORY_LIMIT_BYTES = 128 * 1024 * 1024;

/**
 * Decodes xz: one stream or several, of any number of blocks. The library is as fast as the program `xz` (39 and 37
 * MB/s of output measured side by side), needs nothing installed, and starts at once.
 */
export async function* decodeXz(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const decoder = new XzLibraryDecoder(await loadXzLibrary(), MEMORY_LIMIT_BYTES);
  try {
    for await (const chunk of source) {
      for (const part of decoder.write(chunk)) {
        yield part;
        // It works on this very thread: let commands and other jobs have their turn.
        await setImmediate();
      }
    }
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
