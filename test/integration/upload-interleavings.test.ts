import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { type Caches, Verifier } from '../../server/cache/index.ts';
import { describeWith } from '../support/needs.ts';
import { openCaches } from '../support/open-caches.ts';
import { PostgresServer } from '../support/postgres.ts';
import { cacheOnPostgres } from '../support/postgres-cache.ts';
import { S3Server } from '../support/s3.ts';
import { s3Secret } from '../support/s3-cache.ts';
import { interleave, steps } from '../support/upload-interleavings.ts';

const LONG = process.env.NARWHAL_LONG === '1';
const KIB = 1024;
const BUCKET = 'narwhal';
/** Joined by S3; the last part of an upload may be smaller. */
const LARGE = 5 * 2 ** 20;

describeWith(['postgres', 'versitygw'], 'an upload with which two servers go on', () => {
  let postgres: PostgresServer;
  let s3: S3Server;
  let folder: string;
  const verifier = new Verifier();

  before(async () => {
    [postgres, s3] = await Promise.all([PostgresServer.start(), S3Server.start()]);
    await s3.createBucket(BUCKET);
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-interleavings-'));
  });
  after(async () => {
    await verifier.stop();
    await Promise.all([postgres.remove(), s3.remove()]);
    await rm(folder, { recursive: true, force: true });
  });

  let prefixes = 0;
  const bucket = (uploads: string) => ({
    name: 'bucket',
    s3: {
      ...{ bucket: BUCKET, endpoint: s3.endpoint, prefix: `p${prefixes++}`, uploads },
      ...{ forcePathStyle: true, credentialsSecretRef: { name: 's3' } },
    },
  });
  const small = fc.array(fc.integer({ min: 1, max: 300 * KIB }), { minLength: 0, maxLength: 2 });
  const kinds: Readonly<Record<string, { storage: () => object; parts: fc.Arbitrary<number[]>; runs: number }>> = {
    'in a folder that both mount': {
      storage: () => ({ name: 'disk', local: { path: path.join(folder, 'disk') } }),
      parts: small,
      runs: 15,
    },
    'in S3, with small parts through the servers': { storage: () => bucket('Proxy'), parts: small, runs: 10 },
    'in S3, with large parts through the servers': {
      storage: () => bucket('Proxy'),
      parts: fc.constantFrom([LARGE], [LARGE, LARGE]),
      runs: 3,
    },
    'in S3, straight from clients': { storage: () => bucket('Direct'), parts: fc.constantFrom([], [LARGE]), runs: 5 },
  };

  for (const [index, [kind, { storage, parts, runs }]] of Object.entries(kinds).entries()) {
    it(`publishes the bytes that were verified, ${kind}`, async () => {
      const cache = cacheOnPostgres({ url: await postgres.createDatabase(), spec: { storages: [storage()] } });
      const restart = (server: number) =>
        openCaches({
          data: path.join(folder, `${index}-${server}`),
          verifier,
          manifest: `${cache.manifest}\n${s3Secret(s3)}`,
          settings: { transientRetryMs: 1000 },
        });
      const servers: Caches[] = [];
      try {
        for (const server of [0, 1]) servers.push(await restart(server));
        await fc.assert(
          fc.asyncProperty(parts, steps, (sizes, list) => interleave({ servers, restart, parts: sizes }, list)),
          { numRuns: LONG ? 50 * runs : runs, endOnFailure: true },
        );
      } finally {
        for (const server of servers) await server.close();
      }
    }).timeout(LONG ? 3_600_000 : 180_000);
  }
});
