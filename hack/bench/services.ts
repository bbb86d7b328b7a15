/** S3 and PostgreSQL for a scenario, and manifests of caches that lie there. */
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { generateToken } from '../../crds/index.ts';
import { installCrds } from '../../test/support/crds.ts';
import { Kubernetes } from '../../test/support/kubernetes.ts';
import { PostgresServer } from '../../test/support/postgres.ts';
import { cacheOnPostgres } from '../../test/support/postgres-cache.ts';
import { S3Server } from '../../test/support/s3.ts';
import { s3Manifest, s3Secret, s3Storage } from '../../test/support/s3-cache.ts';
import { cacheManifest } from '../../test/support/server.ts';
import type { Bench } from './bench.ts';
import type { NarwhalInit, Served } from './processes.ts';

export const BUCKET = 'bench';

/** A service of the tests, ended with the bench like all that it started. */
export type Running<T> = Served & { readonly server: T };

export async function startS3(bench: Bench): Promise<Running<S3Server>> {
  const server = await S3Server.start();
  await server.createBucket(BUCKET);
  return bench.serving(Promise.resolve(running(server, server.endpoint)));
}

/** Writes through to the disk, as a server that is to keep something does. */
export async function startPostgres(bench: Bench): Promise<Running<PostgresServer>> {
  const server = await PostgresServer.start({ fsync: true });
  return bench.serving(Promise.resolve(running(server, server.url())));
}

/** An API server without nodes, with our CRDs. */
export async function startKubernetes(): Promise<Running<Kubernetes>> {
  const server = await Kubernetes.start();
  await installCrds(server);
  return { server, url: server.url, pid: server.pids.api, stop: () => server.remove() };
}

function running<T extends { readonly pid: number; remove(): Promise<void> }>(server: T, url: string): Running<T> {
  return { server, url, pid: server.pid, stop: () => server.remove() };
}

/** URLs that take an object each. @param endpoint of the service, or of a proxy in front of it */
export function signedPuts(s3: S3Server, endpoint: string, prefix: string, count: number): Promise<string[]> {
  const client = s3.client({ endpoint });
  return Promise.all(
    Array.from({ length: count }, (_, index) =>
      getSignedUrl(client, new PutObjectCommand({ Bucket: BUCKET, Key: `${prefix}/${index}` })),
    ),
  );
}

/** A cache on SQLite with any storages; the Secret of the service belongs to those in a bucket. */
export function bucketManifest(storages: readonly string[], s3: S3Server | undefined): string {
  const spec = `storages:\n${storages.join('')}tokens:\n  - {name: push, permissions: [Write]}\n`;
  return `${cacheManifest('main', spec)}${s3 === undefined ? '' : s3Secret(s3)}`;
}

type S3Fields = Readonly<Record<string, unknown>>;

/** A cache on SQLite whose NARs lie in a bucket. @param endpoint of the service, or of a proxy in front of it */
export function inBucket(s3: S3Server, name: string, endpoint: string, fields: S3Fields = {}): NarwhalInit {
  return { manifest: s3Manifest(s3, [s3Storage(name, BUCKET, endpoint, fields)]) };
}

/** A cache on PostgreSQL whose NARs lie in a bucket, for any number of servers. */
export function shared(s3: S3Server, databaseUrl: string, name: string, fields: S3Fields = {}): NarwhalInit {
  const storage = {
    name,
    s3: {
      bucket: BUCKET,
      endpoint: s3.endpoint,
      prefix: name,
      forcePathStyle: true,
      credentialsSecretRef: { name: 's3' },
      ...fields,
    },
  };
  const token = generateToken();
  const { manifest } = cacheOnPostgres({ url: databaseUrl, token, spec: { storages: [storage] } });
  return { manifest: `${manifest}\n${s3Secret(s3)}`, token };
}
