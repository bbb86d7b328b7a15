/** Secrets that are generated once. They are immutable; a key is replaced by one of another name. */
import { randomBytes } from 'node:crypto';
import { generateToken } from '../../../crds/index.ts';
import { generateSecretKey } from '../../../server/nix/index.ts';
import type { Desired } from '../../runtime/index.ts';
import type { Inputs, SecretNeed } from '../desired/index.ts';
import { keptMetadata, ownedMetadata, reclaimedMetadata } from '../names.ts';
import type { Cache } from '../types.ts';
import { clientFiles } from './client-files.ts';

/** Name of the key that a cache signs with: what `cachix use` expects where the public name belongs to the cache. */
export function signingKeyName(cache: Cache, { apiUrl }: Pick<Inputs, 'apiUrl'>): string {
  const { name, namespace } = cache.metadata;
  return `${name}.${apiUrl === undefined ? namespace : new URL(apiUrl).hostname}-1`;
}

/**
 * A new Secret, with new random content. It is created, never applied: the first one stays. What holds keys gets its
 * owner later, by `ownership()`, so that `reclaimPolicy` can change.
 */
export function generateSecret(need: SecretNeed, cache: Cache, inputs: Inputs, publicKeys: readonly string[]): Desired {
  const metadata = need.use === 'token' ? ownedMetadata(cache, need.name) : keptMetadata(cache, need.name);
  const stringData = (): Record<string, string> => {
    switch (need.use) {
      case 'root':
        return { 'root.key': randomBytes(32).toString('base64') };
      case 'signing':
        return { 'signing-key': generateSecretKey(signingKeyName(cache, inputs)) };
      default:
        return clientFiles(cache, inputs, generateToken(), publicKeys);
    }
  };
  return { apiVersion: 'v1', kind: 'Secret', metadata, type: 'Opaque', immutable: true, stringData: stringData() };
}

/** What is applied to a generated Secret of keys: who takes it along, and nothing of its content. */
export function ownership(need: SecretNeed, cache: Cache): Desired {
  return { apiVersion: 'v1', kind: 'Secret', metadata: reclaimedMetadata(cache, need.name) };
}
