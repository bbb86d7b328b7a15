/** Who an API server of ours believes: an authority for certificates, and a key for the tokens of ServiceAccounts. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Certificate, CertificateAuthority } from './certificates.ts';

export interface KubernetesPki {
  readonly authority: CertificateAuthority;
  /** Of the API server, and of the controllers for their health. */
  readonly server: Certificate;
  /** The key that signs tokens, and its public half. */
  readonly tokenKeyFile: string;
  readonly tokenPublicKeyFile: string;
}

/**
 * Makes all of it in `folder`.
 *
 * @param altNames what the server is called beside localhost and 127.0.0.1, as in `DNS:kubernetes`
 */
export async function makeKubernetesPki(folder: string, altNames: readonly string[] = []): Promise<KubernetesPki> {
  const authority = await CertificateAuthority.make(folder, altNames);
  const server = await authority.issue('server', 'server', '/CN=kube-apiserver');
  const { privateKey, publicKey } = generateKeyPairSync('ec', {
    namedCurve: 'prime256v1',
    privateKeyEncoding: { type: 'sec1', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  const [tokenKeyFile, tokenPublicKeyFile] = [path.join(folder, 'tokens.key'), path.join(folder, 'tokens.pub')];
  await writeFile(tokenKeyFile, privateKey, { mode: 0o600 });
  await writeFile(tokenPublicKeyFile, publicKey);
  return { authority, server, tokenKeyFile, tokenPublicKeyFile };
}

export interface User {
  readonly user: string;
  readonly groups?: readonly string[];
}

/** The subject of a certificate that an API server takes for a user: the name is its CN, groups are its Os. */
export function subjectOf({ user, groups = [] }: User): string {
  const escaped = (word: string) => word.replace(/[\\/+]/g, '\\$&');
  return [...groups.map((group) => `/O=${escaped(group)}`), `/CN=${escaped(user)}`].join('');
}
