/** Part URLs carry their own credential: an HMAC over all that they allow, by a key derived from the root key. */
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';

/** What one URL allows: these bytes, as this part of this upload, until then. */
export interface PartGrant {
  readonly id: string;
  readonly uploadId: string;
  readonly part: number;
  /** Hex. */
  readonly md5: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export function signPart(key: KeyObject, grant: PartGrant): string {
  const text = [grant.id, grant.uploadId, grant.part, grant.md5, grant.expiresAt].join('\n');
  return createHmac('sha256', key).update(text).digest('base64url');
}

/** Whether `signature` is of exactly this grant; constant in time. Expiry is the caller's to check. */
export function verifyPart(key: KeyObject, grant: PartGrant, signature: string): boolean {
  const expected = Buffer.from(signPart(key, grant));
  const given = Buffer.from(signature);
  return expected.length === given.length && timingSafeEqual(expected, given);
}
