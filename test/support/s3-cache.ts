/** Manifests of caches whose bytes lie in a bucket, and a look at what is there. */
import type { S3Server } from './s3.ts';
import { cacheManifest } from './server.ts';

/** A Secret with the credentials of the test's S3 server, called `s3`. */
export function s3Secret({ accessKeyId, secretAccessKey }: Pick<S3Server, 'accessKeyId' | 'secretAccessKey'>): string {
  return [
    '---',
    'apiVersion: v1',
    'kind: Secret',
    'metadata: {name: s3}',
    `stringData: {accessKeyId: "${accessKeyId}", secretAccessKey: "${secretAccessKey}"}`,
    '',
  ].join('\n');
}

/** One storage in a bucket, as a line of YAML; `more` are fields of `s3`. */
export function s3Storage(
  name: string,
  bucket: string,
  endpoint: string,
  more: Readonly<Record<string, unknown>> = {},
) {
  const s3 = {
    bucket,
    endpoint,
    prefix: name,
    forcePathStyle: true,
    credentialsSecretRef: { name: 's3' },
    ...more,
  };
  // YAML takes JSON as it is.
  return `  - ${JSON.stringify({ name, s3 })}\n`;
}

const TOKENS = 'tokens:\n  - {name: read, permissions: [Read]}\n  - {name: push, permissions: [Write]}\n';

/** A cache `main` with these storages, and the Secret that they name. */
export function s3Manifest(s3: S3Server, storages: readonly string[], spec = ''): string {
  return `${cacheManifest('main', `${spec}storages:\n${storages.join('')}${TOKENS}`)}${s3Secret(s3)}`;
}
