/** Which signatures a path is published with. */

import { CacheError } from '../errors.ts';
import type { Keys } from './keys.ts';
import { keyNameOf } from './signature-room.ts';

/**
 * Keeps signatures of keys that we do not know, refuses false ones under names that we do, and adds our own.
 * @param fingerprint what is signed
 * @param claimed `name:base64` lines of the client
 * @throws CacheError Invalid, Conflict (a key is lost)
 */
export function signaturesFor(keys: Keys, fingerprint: string, claimed: readonly string[]): string[] {
  mustBeAbleToSign(keys);
  if (keys.mode === 'SelfSigned') return selfSigned(keys, fingerprint, claimed);
  const own = keys.signers.map((key) => key.sign(fingerprint));
  const names = new Set(keys.signers.map((key) => key.name));
  for (const signature of claimed) {
    // Ed25519 is deterministic: a genuine signature of our own key is the one that we would make.
    if (names.has(keyNameOf(signature)) && !own.includes(signature)) {
      throw new CacheError(
        'Invalid',
        `the signature by ${keyNameOf(signature)}, which is this cache's own key, is not valid`,
      );
    }
  }
  return [...claimed.filter((signature) => !names.has(keyNameOf(signature))), ...own];
}

/**
 * The Cachix protocol's `cSig` with its key's name: it comes without one, and is of whichever of the cache's client
 * keys it verifies under. @throws CacheError Invalid
 */
export function namedSignatures(keys: Keys, fingerprint: string, signature: string | undefined): string[] {
  // A managed cache signs by itself; a client that has a key configured for another cache still gets its path in.
  if (signature === undefined || keys.mode === 'Managed') return [];
  const named = keys.clients.map((key) => ({ key, text: `${key.name}:${signature}` }));
  const valid = named.find((it) => it.key.verify(fingerprint, it.text));
  if (valid === undefined)
    throw new CacheError('Invalid', 'cSig is not a signature of this path by a key of this cache');
  return [valid.text];
}

/** Refused before the body where a key is lost: nothing could be published. @throws CacheError Conflict */
export function mustBeAbleToSign(keys: Keys): void {
  if (keys.refusal !== undefined) throw new CacheError('Conflict', keys.refusal);
}

function selfSigned(keys: Keys, fingerprint: string, claimed: readonly string[]): string[] {
  const names = new Set(keys.clients.map((key) => key.name));
  const ours = claimed.filter((signature) => names.has(keyNameOf(signature)));
  for (const signature of ours) {
    // At the first that is wrong it is over: each look at one takes a tenth of a millisecond for every key.
    if (!keys.clients.some((key) => key.verify(fingerprint, signature)))
      throw new CacheError('Invalid', `the signature by ${keyNameOf(signature)} is not valid for this path`);
  }
  if (ours.length > 0) return [...claimed];
  if (names.size === 0)
    throw new CacheError(
      'Invalid',
      'this cache is self-signed and has no public key yet: register one with cachix generate-keypair',
    );
  throw new CacheError(
    'Invalid',
    `this cache is self-signed: sign the path with ${[...names].join(' or ')} (nix copy: ?secret-key=FILE)`,
  );
}

/** The public key that a signature is valid by, of those that this cache has to do with: its own, clients', upstreams'. */
export function knownKeyOf(keys: Keys, fingerprint: string, signature: string): string | undefined {
  const name = keyNameOf(signature);
  const own = keys.signers.find((key) => key.name === name && key.sign(fingerprint) === signature);
  if (own !== undefined) return own.publicKey;
  return [...keys.clients, ...keys.upstreams].find((key) => key.verify(fingerprint, signature))?.text;
}
