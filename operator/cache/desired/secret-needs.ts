/** The Secrets that a cache needs: those that the manifest names, and those that are generated once. Pure. */
import { namesOf, tokenSecretName } from '../names.ts';
import type { Cache } from '../types.ts';

export type SecretUse = 'root' | 'signing' | 'token' | 'storage' | 'database' | 'ca';

/** A Secret that a cache cannot do without. */
export interface SecretNeed {
  readonly use: SecretUse;
  readonly name: string;
  /** Keys that it must have. */
  readonly keys: readonly string[];
  /** Name of the token that it holds. */
  readonly token?: string;
  /** Whether the operator makes it; otherwise the manifest names it. */
  readonly isGenerated: boolean;
}

/** Every Secret of a cache, in a fixed order. */
export function secretNeeds(cache: Cache): SecretNeed[] {
  const { spec } = cache;
  const names = namesOf(cache);
  const given = (use: SecretUse, ref: { name: string; key: string }): SecretNeed => ({
    use,
    name: ref.name,
    keys: [ref.key],
    isGenerated: false,
  });
  const needs: SecretNeed[] = [];
  if (spec.rootSecretRef) needs.push(given('root', spec.rootSecretRef));
  else needs.push({ use: 'root', name: names.rootKey, keys: ['root.key'], isGenerated: true });
  if (spec.signing.secretRefs) needs.push(...spec.signing.secretRefs.map((ref) => given('signing', ref)));
  else if (spec.signing.mode === 'Managed')
    needs.push({ use: 'signing', name: names.signingKey, keys: ['signing-key'], isGenerated: true });
  for (const token of spec.tokens ?? []) {
    if (token.sha256 !== undefined) continue;
    if (token.secretRef) needs.push({ ...given('token', token.secretRef), token: token.name });
    else {
      const name = tokenSecretName(cache, token.name);
      needs.push({ use: 'token', name, keys: ['token'], token: token.name, isGenerated: true });
    }
  }
  for (const { s3 } of spec.storages) {
    if (s3?.credentialsSecretRef)
      needs.push({
        use: 'storage',
        name: s3.credentialsSecretRef.name,
        keys: ['accessKeyId', 'secretAccessKey'],
        isGenerated: false,
      });
  }
  const { postgres } = spec.database;
  if (postgres) needs.push(given('database', postgres.secretRef));
  if (postgres?.tls?.caSecretRef) needs.push(given('ca', postgres.tls.caSecretRef));
  return needs;
}

/** Names of the Secrets that a cache needs for tokens and for nothing else. */
export function tokenSecretsOf(cache: Cache): string[] {
  const needs = secretNeeds(cache);
  const others = new Set(needs.flatMap(({ use, name }) => (use === 'token' ? [] : [name])));
  return [...new Set(needs.map(({ name }) => name))].filter((name) => !others.has(name));
}

export interface MountedSecret {
  readonly name: string;
  /** Whether a pod starts without it. */
  readonly optional: boolean;
}

/** Secrets that the pods mount, each once. Tokens are not among them: a server knows their hashes only. */
export function mountedSecrets(cache: Cache): MountedSecret[] {
  const mounted = new Map<string, boolean>();
  for (const { use, name } of secretNeeds(cache)) {
    if (use === 'token') continue;
    // Without its keys a cache still serves what is signed. Without credentials it would start to no purpose.
    const optional = use === 'root' || use === 'signing';
    mounted.set(name, (mounted.get(name) ?? true) && optional);
  }
  return [...mounted].map(([name, optional]) => ({ name, optional }));
}
