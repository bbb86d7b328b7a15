/** MD5 of a stretch of a file: what `Content-MD5` of a part is checked against. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

const PIECE_BYTES = 256 * 1024;

/** Hex MD5 of `size` bytes of `file` from `start` on. */
export async function md5OfRange(file: string, start: number, size: number): Promise<string> {
  const hash = createHash('md5');
  if (size === 0) return hash.digest('hex');
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.allocUnsafe(Math.min(size, PIECE_BYTES));
    for (let at = start; at < start + size; ) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, start + size - at), at);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}
