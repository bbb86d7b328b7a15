/** Which database a cache has: a file of its own, or a schema that several servers share. */
import { type Documents, type BinaryCache as Manifest, resolveSecret, resolveWholeSecret } from '../../crds/index.ts';
import { DatabaseError, type PostgresTarget, readTarget, type TlsPlan } from '../metadata/index.ts';

export type DatabasePlan =
  | { readonly kind: 'sqlite' }
  | {
      readonly kind: 'postgres';
      /** Holds the password, and never prints it. */
      readonly target: PostgresTarget;
      /** Belongs to this cache alone. */
      readonly schema: string;
    };

/** @throws DatabaseError Invalid, SecretError */
export function planDatabase(manifest: Manifest, documents: Documents): DatabasePlan {
  const { postgres } = manifest.spec.database;
  if (postgres === undefined) return { kind: 'sqlite' };
  const { name, namespace } = manifest.metadata;
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8');
  const tls: TlsPlan | undefined = postgres.tls && {
    mode: postgres.tls.mode,
    ca: postgres.tls.caSecretRef && text(resolveSecret(documents, postgres.tls.caSecretRef, namespace)),
  };
  const secret = resolveWholeSecret(documents, postgres.secretRef.name, namespace);
  const value = (key: string) => {
    const bytes = secret.get(key);
    return bytes && text(bytes);
  };
  try {
    const target = readTarget(value, postgres.secretRef.key, tls);
    return { kind: 'postgres', target, schema: postgres.schema ?? name.replaceAll('-', '_') };
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    throw new DatabaseError(error.code, `cache ${name}: Secret ${postgres.secretRef.name}: ${error.message}`);
  }
}
