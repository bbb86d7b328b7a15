/** What the Secrets of a manifest hold, each value read for what it is used for. */
import { readSecretValue, type SecretRef, type SecretSources, textValue, ValueError } from '../../../crds/index.ts';
import { FormatError, parseSecretKey } from '../../nix/index.ts';

/** Reads the value of a reference. @throws SecretError that names Secret and key */
export type ReadSecret = <T>(ref: SecretRef, read: (bytes: Uint8Array) => T) => T;

export function secretReader(documents: SecretSources, namespace: string | undefined): ReadSecret {
  return (ref, read) => readSecretValue(documents, ref, namespace, read);
}

/** A signing key, as text. @throws ValueError */
export function signingKeyValue(bytes: Uint8Array): string {
  const text = textValue(bytes);
  try {
    parseSecretKey(text);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new ValueError(`is no signing key: ${error.message.replace(/^secret key: /, '')}`);
  }
  return text;
}
