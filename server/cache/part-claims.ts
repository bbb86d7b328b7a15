/** The list of parts that comes with `complete`. */
import { CacheError } from './errors.ts';
import type { UploadFile } from './upload-file.ts';

export const MAX_PARTS = 10_000;

/** A part of `complete`'s list. */
export interface PartClaim {
  readonly number: number;
  /** As we gave it out; quotes do not matter. */
  readonly etag: string;
}

/** The list must name exactly the parts that arrived, 1 to n, by the ETags that we gave out. Their total size. */
export function checkParts(file: UploadFile, parts: readonly PartClaim[]): number {
  const received = file.received();
  for (const [index, claim] of parts.entries()) {
    if (claim.number !== index + 1)
      throw new CacheError('Invalid', `parts: expected part ${index + 1}, got ${claim.number}`);
    const part = received[index];
    if (part?.number !== claim.number) throw new CacheError('Invalid', `parts: part ${claim.number} was not received`);
    if (part.md5 !== claim.etag.replaceAll('"', '').toLowerCase())
      throw new CacheError('Invalid', `parts: the eTag of part ${claim.number} is not the one given out`);
  }
  if (received.length !== parts.length)
    throw new CacheError('Invalid', `parts: ${received.length} parts were received, ${parts.length} are listed`);
  return received.reduce((sum, part) => sum + part.size, 0);
}
