/** The bytes of a whole object, for those who move it or look whether it is well. */

import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { buffers } from '../../buffers/index.ts';
import { ObjectMissingError, type Storage } from '../../storage/index.ts';

/** All bytes of an object, in pieces. */
export async function* piecesOf(storage: Storage, name: string, size: number): AsyncGenerator<Uint8Array> {
  if (size === 0) {
    if ((await storage.stat(name)) === undefined) throw new ObjectMissingError(storage.name, name);
    return;
  }
  const body: Buffer | Readable = await storage.get(name, { start: 0, end: size - 1 });
  if (Buffer.isBuffer(body)) yield body;
  else yield* body;
}

/** SHA-256 of an object, in hex. @param pace hears of the size of each piece, and may keep the next one waiting */
export async function hashOf(
  storage: Storage,
  name: string,
  size: number,
  pace: (bytes: number) => Promise<void> = async () => {},
): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of piecesOf(storage, name, size)) {
    await pace(piece.length);
    hash.update(piece);
    buffers.giveBack(piece);
  }
  return hash.digest('hex');
}
