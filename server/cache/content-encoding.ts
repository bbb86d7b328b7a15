/** Bodies that arrive encoded: nix 2.32 and later may send narinfos, listings and logs that way. */
import { isCompression } from '../nix/index.ts';
import { CacheError } from './errors.ts';
import type { Body } from './incoming.ts';
import { decoderOf } from './verify/index.ts';

/** HTTP's names, where they are not those of narinfo's Compression. */
const NAMES: Readonly<Record<string, string>> = { 'x-gzip': 'gzip', zst: 'zstd', bz2: 'bzip2', 'x-bzip2': 'bzip2' };

/** Undoes one Content-Encoding; the reader bounds the output. @throws CacheError Unsupported */
export function decodeBody(encoding: string, body: Body): Body {
  const name = NAMES[encoding] ?? encoding;
  if (!isCompression(name) || name === 'none')
    throw new CacheError('Unsupported', `Content-Encoding ${encoding} is not supported`);
  return decoderOf(name)(buffers(body));
}

async function* buffers(body: Body): AsyncGenerator<Buffer> {
  for await (const piece of body)
    yield Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
}
