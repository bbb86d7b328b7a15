import assert from 'node:assert/strict';
import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { type PartGrant, signPart, verifyPart } from '../../../../server/cache/index.ts';

const key = createSecretKey(Buffer.alloc(32, 7));
const grant: PartGrant = { id: 'id', uploadId: 'upload', part: 3, md5: '0'.repeat(32), expiresAt: 1_800_000_000_000 };

describe('the signature of a part URL', () => {
  it('is good for its own grant', () => {
    assert.ok(verifyPart(key, grant, signPart(key, grant)));
  });

  it('is good for no other upload, part, bytes or time', () => {
    const others: Partial<PartGrant>[] = [
      { id: 'id2' },
      { uploadId: 'upload2' },
      { part: 4 },
      { md5: '1'.repeat(32) },
      { expiresAt: grant.expiresAt + 1 },
    ];
    for (const other of others) assert.equal(verifyPart(key, { ...grant, ...other }, signPart(key, grant)), false);
  });

  it('is good under no other key', () => {
    assert.equal(verifyPart(createSecretKey(randomBytes(32)), grant, signPart(key, grant)), false);
  });

  it('does not take another text for it, whatever its length', () => {
    fc.assert(fc.property(fc.string(), (text) => !verifyPart(key, grant, text)));
  });
});
