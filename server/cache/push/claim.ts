/** What was found in the bytes of a NAR: its forms in rows, its key, and whether a client's claims agree. */
import { compressionSuffix, formatHash, isCompression, sha256FromHex } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import type { NarFacts } from '../paths/index.ts';
import type { Facts } from '../verify/index.ts';
import type { PathClaim } from './narinfo-create.ts';

/** Key of a NAR that we name ourselves. */
export function narKey(facts: NarFacts): string {
  const suffix = isCompression(facts.compression) ? compressionSuffix(facts.compression) : '';
  return `nar/${facts.fileHash.slice('sha256:'.length)}.nar${suffix}`;
}

/** What the verifier found, in the forms that rows hold. */
export function factsForRow(facts: Facts): NarFacts {
  return {
    compression: facts.compression,
    fileHash: formatHash(sha256FromHex(facts.fileHash)),
    narHash: formatHash(sha256FromHex(facts.narHash)),
    narSize: facts.narSize,
  };
}

/** Compares what a Cachix client claims of a path with its bytes. @throws CacheError Invalid */
export function checkClaim(claim: PathClaim, facts: NarFacts, fileSize: number): void {
  const claims: [string, string | number, string | number][] = [
    ['cFileSize', claim.fileSize, fileSize],
    ['cFileHash', claim.fileHash, facts.fileHash],
    ['cNarHash', claim.narHash, facts.narHash],
    ['cNarSize', claim.narSize, facts.narSize],
  ];
  for (const [field, claimed, found] of claims) {
    if (claimed !== found)
      throw new CacheError('Invalid', `${field} says ${claimed}, the received bytes have ${found}`);
  }
}
