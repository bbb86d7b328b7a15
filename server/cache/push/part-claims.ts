/** The list of parts that comes with `complete`. */
import type { PartsError, RemotePart } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import type { PartInit } from './part-attempt.ts';
import { otherBytes } from './upload-errors.ts';
import type { UploadFile } from './upload-file.ts';
import type { PartRow } from './upload-rows.ts';

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

/** MD5 of no bytes: a file of whole chunks ends with an empty part. */
export const EMPTY_MD5 = 'd41d8cd98f00b204e9800998ecf8427e';

/**
 * The same for an upload that any server may complete. Empty parts are left out. Of a part that went straight to the
 * service nothing is known here but the ETag that the client brings; its size is NaN.
 * @throws CacheError Invalid
 */
export function claimedParts(rows: readonly PartRow[], parts: readonly PartClaim[], isDirect: boolean): RemotePart[] {
  const known = new Map(rows.map((row) => [row.number, row]));
  const list = parts.flatMap(({ number, etag }, index): RemotePart[] => {
    if (number !== index + 1) throw new CacheError('Invalid', `parts: expected part ${index + 1}, got ${number}`);
    const plain = etag.replaceAll('"', '').toLowerCase();
    if (plain === EMPTY_MD5) return [];
    const row = known.get(number);
    if (row === undefined) {
      if (!isDirect) throw new CacheError('Invalid', `parts: part ${number} was not received`);
      return [{ number, size: Number.NaN, at: { etag } }];
    }
    if (row.md5 !== plain)
      throw new CacheError('Invalid', `parts: the eTag of part ${number} is not the one given out`);
    if (row.etag !== null) return [{ number, size: row.size, at: { etag: row.etag } }];
    if (row.name !== null) return [{ number, size: row.size, at: { name: row.name } }];
    throw new CacheError('Invalid', `parts: part ${number} was not received`);
  });
  const missing = rows.find((row) => row.number > parts.length);
  if (missing !== undefined)
    throw new CacheError('Invalid', `parts: part ${missing.number} was received and is not listed`);
  if (list.length === 0) throw new CacheError('Invalid', 'the upload is empty');
  return list;
}

/** Sum of the sizes; undefined where a part went straight to the service. */
export function knownSize(parts: readonly RemotePart[]): number | undefined {
  return parts.some((part) => Number.isNaN(part.size)) ? undefined : parts.reduce((sum, part) => sum + part.size, 0);
}

/** The ETag of a part that was received before. @throws CacheError Conflict (with other bytes) */
export function etagOf(known: PartRow, { number, size, md5 }: PartInit): string {
  if (known.size === size && known.md5 === md5) return md5;
  throw otherBytes(number);
}

/** What a client is told of parts that the service behind a storage refused. */
export function textOfPartsError(error: PartsError): string {
  if (error.code === 'too-small')
    return 'S3 wants 5 MiB or more in each part but the last: push with a larger --chunk-size, or have "uploads: Proxy" set on the storage';
  if (error.code === 'digest') return `the bytes of a part are not those of its Content-MD5: ${error.message}`;
  return `parts: ${error.message}`;
}
