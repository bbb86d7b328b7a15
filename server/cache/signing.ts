/** Which signatures a path is published with. */

import { CacheError } from './errors.ts';
import type { Keys } from './keys.ts';

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
    if (names.has(nameOf(signature)) && !own.includes(signature)) {
      throw new CacheError(
        'Invalid',
        `the signature by ${nameOf(signature)}, which is this cache's own key, is not valid`,
      );
    }
  }
  return [...claimed.filter((signature) => !names.has(nameOf(signature))), ...own];
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
  const valid = claimed.filter((signature) => keys.clients.some((key) => key.verify(fingerprint, signature)));
  const wrong = claimed.find((signature) => names.has(nameOf(signature)) && !valid.includes(signature));
  if (wrong !== undefined)
    throw new CacheError('Invalid', `the signature by ${nameOf(wrong)} is not valid for this path`);
  if (valid.length > 0) return [...claimed];
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

/** The name of the key that a signature, `name:base64`, claims to be by. */
export function nameOf(signature: string): string {
  return signature.slice(0, signature.indexOf(':'));
}
