/** Which database a cache has: a file of its own, or a schema that several servers share. */
import {
  certificatesValue,
  type Documents,
  type BinaryCache as Manifest,
  readSecretValue,
  readValueOf,
  resolveWholeSecret,
  textValue,
} from '../../../crds/index.ts';
import { DatabaseError, type PostgresTarget, readTarget, type TlsPlan } from '../../metadata/index.ts';

export type DatabaseTarget =
  | { readonly kind: 'sqlite' }
  | {
      readonly kind: 'postgres';
      /** Holds the password, and never prints it. */
      readonly target: PostgresTarget;
      /** Belongs to this cache alone. */
      readonly schema: string;
    };

/** @throws DatabaseError Invalid, SecretError; both name the Secret */
export function resolveTarget(manifest: Manifest, documents: Documents): DatabaseTarget {
  const { postgres } = manifest.spec.database;
  if (postgres === undefined) return { kind: 'sqlite' };
  const { name, namespace } = manifest.metadata;
  const tls: TlsPlan | undefined = postgres.tls && {
    mode: postgres.tls.mode,
    ca: postgres.tls.caSecretRef && readSecretValue(documents, postgres.tls.caSecretRef, namespace, certificatesValue),
  };
  const secret = resolveWholeSecret(documents, postgres.secretRef.name, namespace);
  const value = (key: string) => {
    const bytes = secret.get(key);
    return bytes && readValueOf({ name: postgres.secretRef.name, key }, bytes, textValue);
  };
  try {
    const target = readTarget(value, postgres.secretRef.key, tls);
    return { kind: 'postgres', target, schema: postgres.schema ?? name.replaceAll('-', '_') };
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error;
    throw new DatabaseError(error.code, `Secret ${JSON.stringify(postgres.secretRef.name)}: ${error.message}`);
  }
}
