/** Servers that caches use, as pods in a story's namespace: S3 and PostgreSQL, which keep their data when a pod dies. */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ensureImage } from '../../../hack/image.mjs';
import { CertificateAuthority } from '../certificates.ts';
import { ensurePostgresImage, ensureS3Image, load } from './images.ts';
import type { World } from './world.ts';

export interface S3Service {
  /** Of a storage of a BinaryCache. The Secret has the keys `accessKeyId` and `secretAccessKey`. */
  readonly s3: {
    readonly bucket: string;
    readonly region: string;
    readonly endpoint: string;
    readonly forcePathStyle: true;
    readonly credentialsSecretRef: { readonly name: string };
  };
  /** The only one of its StatefulSet. */
  readonly pod: string;
}

/** Starts an S3 server with a bucket; its StatefulSet, Service, Secret and claim bear its name. Returns when it answers. */
export async function startS3(
  world: World,
  { name = 's3', bucket = 'nix-cache', size = '1Gi' } = {},
): Promise<S3Service> {
  const image = await load(world, await ensureS3Image());
  const client = (await ensureImage('client')).reference;
  const region = 'eu-central-1';
  const stringData = {
    accessKeyId: `NWLTEST${randomBytes(8).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(30).toString('base64url'),
  };
  const secretEnv = (env: string, key: keyof typeof stringData) => ({
    name: env,
    valueFrom: { secretKeyRef: { name, key } },
  });
  const data = { name: 'data', mountPath: '/data' };
  await world.apply(
    { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData },
    service(name, 80, 7070),
    statefulSet(name, size, {
      // Every folder is a bucket, and a fresh volume has one that is none.
      initContainers: [
        {
          ...container('bucket', client),
          command: ['mkdir', '-p', `/data/buckets/${bucket}`],
          volumeMounts: [data],
        },
      ],
      containers: [
        {
          ...container('s3', image),
          args: ['--quiet', '--keep-alive', '--region', region, '--health', '/health', 'posix', '/data/buckets'],
          env: [secretEnv('ROOT_ACCESS_KEY', 'accessKeyId'), secretEnv('ROOT_SECRET_KEY', 'secretAccessKey')],
          readinessProbe: { httpGet: { path: '/health', port: 7070 }, periodSeconds: 1 },
          volumeMounts: [data],
        },
      ],
    }),
  );
  await world.wait(`statefulset/${name}`, 'jsonpath={.status.readyReplicas}=1');
  const endpoint = `http://${name}.${world.namespace}.svc`;
  return {
    s3: { bucket, region, endpoint, forcePathStyle: true, credentialsSecretRef: { name } },
    pod: `${name}-0`,
  };
}

export interface PostgresService {
  /** Of a BinaryCache: TLS is wanted, and its authority is of a Secret. */
  readonly postgres: {
    readonly secretRef: { readonly name: string };
    readonly tls: { readonly mode: 'VerifyFull'; readonly caSecretRef: { readonly name: string } };
  };
  /** The only one of its StatefulSet. */
  readonly pod: string;
}

/** As docs/postgres.md sets it up; TLS, and nothing without it. */
const START = `
if [ ! -e /data/folder ]; then
  # One that was killed before it was whole stays aside.
  folder=/data/$RANDOM$RANDOM
  initdb -D "$folder" --username=postgres --auth=scram-sha-256 --pwfile=/secrets/admin/admin --no-sync \\
    --locale=C --encoding=UTF8 > /dev/null
  echo "hostssl all all all scram-sha-256" >> "$folder/pg_hba.conf"
  postgres --single -D "$folder" postgres > /dev/null << SQL
CREATE ROLE narwhal LOGIN PASSWORD '$(< /secrets/admin/password)';
CREATE DATABASE narwhal OWNER narwhal ENCODING 'UTF8' TEMPLATE template0;
SQL
  echo "$folder" > /data/folder
fi
postgres -D "$(< /data/folder)" -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off \\
  -c max_wal_size=64MB -c min_wal_size=32MB -c shared_buffers=32MB -c max_connections=100 \\
  -c ssl=on -c ssl_cert_file=/secrets/tls/tls.crt -c ssl_key_file=/secrets/tls/tls.key &
# By SIGTERM it would wait for its clients to go.
trap 'kill -INT $!' TERM
wait $! || wait $!
`;

/**
 * Starts PostgreSQL; StatefulSet, Service and claim bear its name. The Secret `<secret>` has its URL as `uri`,
 * `<name>-ca` its authority as `ca.crt`. Returns when it answers.
 */
export async function startPostgres(
  world: World,
  { name = 'postgres', secret = 'main-database', size = '500Mi' } = {},
): Promise<PostgresService> {
  const image = await load(world, await ensurePostgresImage());
  const host = `${name}.${world.namespace}.svc`;
  const { certificate, key, ca } = await certificateFor(host);
  const [admin, password] = [randomBytes(18).toString('base64url'), randomBytes(18).toString('base64url')];
  const secretOf = (it: string, stringData: Readonly<Record<string, string>>) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: it },
    stringData,
  });
  await world.apply(
    secretOf(`${name}-admin`, { admin, password }),
    secretOf(`${name}-tls`, { 'tls.crt': certificate, 'tls.key': key }),
    secretOf(`${name}-ca`, { 'ca.crt': ca }),
    secretOf(secret, { uri: `postgresql://narwhal:${password}@${host}:5432/narwhal` }),
    service(name, 5432, 5432),
    statefulSet(name, size, {
      containers: [
        {
          ...container('postgres', image),
          command: ['sh', '-ec', START],
          readinessProbe: { exec: { command: ['pg_isready', '-q', '-h', '127.0.0.1'] }, periodSeconds: 1 },
          volumeMounts: [
            { name: 'data', mountPath: '/data' },
            { name: 'tmp', mountPath: '/tmp' },
            { name: 'admin', mountPath: '/secrets/admin', readOnly: true },
            { name: 'tls', mountPath: '/secrets/tls', readOnly: true },
          ],
        },
      ],
      volumes: [
        { name: 'tmp', emptyDir: {} },
        { name: 'admin', secret: { secretName: `${name}-admin` } },
        // A key that others may read is refused; that its group may is what fsGroup makes of this.
        { name: 'tls', secret: { secretName: `${name}-tls`, defaultMode: 0o600 } },
      ],
    }),
  );
  await world.wait(`statefulset/${name}`, 'jsonpath={.status.readyReplicas}=1');
  return {
    postgres: { secretRef: { name: secret }, tls: { mode: 'VerifyFull', caSecretRef: { name: `${name}-ca` } } },
    pod: `${name}-0`,
  };
}

async function certificateFor(host: string): Promise<{ certificate: string; key: string; ca: string }> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'narwhal-postgres-tls-'));
  try {
    const authority = await CertificateAuthority.make(folder, [`DNS:${host}`]);
    const { certFile, keyFile } = await authority.issue('server', 'server', '/CN=postgres');
    const read = (file: string) => fs.readFileSync(file, 'utf8');
    return { certificate: read(certFile), key: read(keyFile), ca: read(authority.caFile) };
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

function service(name: string, port: number, targetPort: number) {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ port, targetPort }] },
  };
}

/** One pod with a claim `data`, as Pod Security wants it to be at its strictest. */
function statefulSet(name: string, size: string, pod: Readonly<Record<string, unknown>>) {
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name },
    spec: {
      serviceName: name,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 5,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 65532,
            runAsGroup: 65532,
            fsGroup: 65532,
            // PostgreSQL takes no folder into which its group may write, as a second walk would leave it.
            fsGroupChangePolicy: 'OnRootMismatch',
            seccompProfile: { type: 'RuntimeDefault' },
          },
          ...pod,
        },
      },
      volumeClaimTemplates: [
        {
          metadata: { name: 'data' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: size } } },
        },
      ],
    },
  };
}

function container(name: string, image: string) {
  return {
    name,
    image,
    imagePullPolicy: 'Never',
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
  };
}
