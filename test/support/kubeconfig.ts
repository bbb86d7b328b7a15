/** How a client reaches an API server and who it is there, and the file of it that every client reads. */
import { readFile, writeFile } from 'node:fs/promises';
import type { Certificate } from './certificates.ts';
import { runToEnd } from './run.ts';

/** Certificates and keys are texts of PEM, so that a kubeconfig is one file that can be handed on. */
export interface Access {
  /** As in `https://127.0.0.1:6443`. */
  readonly server: string;
  readonly ca: string;
  readonly user: { readonly cert: string; readonly key: string } | { readonly token: string };
}

/** The user that a client certificate stands for. */
export async function certificateUser({ certFile, keyFile }: Certificate): Promise<Access['user']> {
  return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') };
}

/** Writes a kubeconfig that only its owner can read. */
export function writeKubeconfig(file: string, { server, ca, user }: Access): Promise<void> {
  // Plain HTTP is a proxy's of a test, which has credentials of its own.
  const isPlain = server.startsWith('http:');
  const trust = isPlain ? { 'insecure-skip-tls-verify': true } : { 'certificate-authority-data': toBase64(ca) };
  const credentials =
    'token' in user
      ? { token: user.token }
      : { 'client-certificate-data': toBase64(user.cert), 'client-key-data': toBase64(user.key) };
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, ...trust } }],
    users: [{ name: 'test', user: isPlain ? {} : credentials }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test' } }],
    'current-context': 'test',
  };
  // JSON is YAML.
  return writeFile(file, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
}

interface FlatConfig {
  readonly clusters?: readonly { readonly cluster: Readonly<Record<string, string>> }[];
  readonly users?: readonly { readonly user: Readonly<Record<string, string>> }[];
}

/** What the current context of a person's kubeconfig says. kubectl reads it, so that it may be of any form. */
export async function readKubeconfig(kubectl: string, file: string): Promise<Access> {
  const words = [kubectl, 'config', 'view', '--raw', '--minify', '--flatten', '--output=json'];
  const { code, stdout, stderr } = await runToEnd(words, { env: { PATH: process.env.PATH, KUBECONFIG: file } });
  if (code !== 0) throw new Error(`${file} cannot be used: ${stderr.trim()}`);
  const { clusters, users } = JSON.parse(stdout) as FlatConfig;
  const { server, 'certificate-authority-data': ca } = clusters?.[0]?.cluster ?? {};
  const { token, 'client-certificate-data': cert, 'client-key-data': key } = users?.[0]?.user ?? {};
  if (server === undefined || ca === undefined)
    throw new Error(`${file}: the tests need a cluster with a server and its certificate authority`);
  if (cert !== undefined && key !== undefined)
    return { server, ca: fromBase64(ca), user: { cert: fromBase64(cert), key: fromBase64(key) } };
  if (token === undefined) throw new Error(`${file}: the tests need a user with a client certificate or a token`);
  return { server, ca: fromBase64(ca), user: { token } };
}

function toBase64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString('utf8');
}
