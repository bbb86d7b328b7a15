/** The authority of the cluster's certificates. It lies in the cluster, so that whoever comes later can renew them. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { CertificateAuthority } from '../certificates.ts';
import type { World } from './world.ts';

interface Place {
  /** Of the ConfigMap with `ca.crt`, and of the Secret with what the authority needs to sign. */
  readonly name: string;
  readonly namespace: string;
}

/** Makes an authority for a host and all names below it, unless it is there. */
export async function makeAuthority(world: World, { name, namespace, host }: Place & { host: string }): Promise<void> {
  const found = await world.tryKubectl(['get', 'secret', name], { namespace });
  if (found.code === 0) return;
  await inFolder(async (folder) => {
    const { caFile } = await CertificateAuthority.make(folder, [`DNS:${host}`, `DNS:*.${host}`]);
    const files = fs.readdirSync(folder).map((file) => [file, fs.readFileSync(path.join(folder, file), 'utf8')]);
    const metadata = { name, namespace };
    await world.apply(
      { apiVersion: 'v1', kind: 'Secret', metadata, stringData: Object.fromEntries(files) },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': fs.readFileSync(caFile, 'utf8') } },
    );
  });
}

/** A certificate and its key, as a Secret of TLS has them. */
export async function newCertificate(
  world: World,
  { name, namespace, subject }: Place & { subject: string },
): Promise<{ 'tls.crt': string; 'tls.key': string }> {
  const { data } = await world.get(`secret/${name}`, { namespace });
  return inFolder(async (folder) => {
    for (const [file, content] of Object.entries<string>(data))
      fs.writeFileSync(path.join(folder, file), Buffer.from(content, 'base64'), { mode: 0o600 });
    const { certFile, keyFile } = await CertificateAuthority.open(folder).issue('server', 'tls', `/CN=${subject}`);
    return { 'tls.crt': fs.readFileSync(certFile, 'utf8'), 'tls.key': fs.readFileSync(keyFile, 'utf8') };
  });
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-tls-'));
  try {
    return await work(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
