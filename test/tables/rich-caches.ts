/** Caches that use every field that a cluster acts on, two of them since some exclude each other, and their Secrets. */
import { randomBytes } from 'node:crypto';
import { generateToken } from '../../crds/index.ts';
import { generateSecretKey } from '../../server/nix/index.ts';
import type { Value } from '../support/manifests.ts';

/** SQLite on two volumes of its own, generated keys beside given ones, an Ingress. */
export const richDisk: Value = {
  access: 'Private',
  priority: 30,
  compression: 'Xz',
  strategy: 'Split',
  storages: [
    { name: 'fast', weight: 30, capacity: '800Mi', local: { size: '1024Mi', storageClassName: 'fast' } },
    { name: 'large', weight: 60, local: { size: 21474836480 } },
    {
      name: 'bucket',
      weight: 10,
      s3: {
        bucket: 'nix',
        region: 'eu-central-1',
        endpoint: 'https://s3.example.org',
        publicEndpoint: 'https://s3.public.example.org',
        prefix: 'team',
        forcePathStyle: true,
        credentialsSecretRef: { name: 'bucket' },
        reads: 'Proxy',
        uploads: 'Proxy',
      },
    },
  ],
  database: { sqlite: { size: '1.5Gi', storageClassName: 'fast' } },
  limits: { maxNarSize: '8Gi', moveRate: '10Mi' },
  retention: { days: 60, maxSize: '500Gi', keepPins: false, minAgeSeconds: 0, everySeconds: 60, lowPercent: 80 },
  pins: [
    { name: 'é b/1', storePath: `/nix/store/${'0'.repeat(32)}-x`, keep: { days: 14 } },
    { name: 'production', storePath: `/nix/store/${'1'.repeat(32)}-x`, keep: { revisions: 5 } },
    { name: 'all', storePath: `/nix/store/${'2'.repeat(32)}-x` },
  ],
  tokens: [
    { name: 'ci', permissions: ['Write'] },
    { name: 'developers', permissions: ['Read'], expiresAt: '2040-01-01T00:00:00Z' },
    { name: 'release', permissions: ['Write'], sha256: 'a'.repeat(64) },
    { name: 'mirror', permissions: ['Read'], secretRef: { name: 'given', key: 'token' } },
  ],
  ingress: {
    host: 'nix.example.org',
    className: 'nginx',
    tlsSecretName: 'nix-tls',
    annotations: { 'nginx.ingress.kubernetes.io/proxy-body-size': '0', 'example.org/empty': '' },
  },
  networkPolicy: {
    clientsFrom: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }, { namespaceSelector: {} }],
    metricsFrom: [{ namespaceSelector: { matchLabels: { team: 'a' } }, podSelector: { matchLabels: { app: 'b' } } }],
  },
  podTemplate: {
    metadata: { labels: { team: 'a' }, annotations: { 'example.org/note': 'n', 'example.org/empty': '' } },
    spec: {
      resources: {
        requests: { cpu: '0.25', memory: '512Mi', 'ephemeral-storage': '1000Ki' },
        limits: { cpu: 2, memory: '2048Mi' },
      },
      nodeSelector: { 'kubernetes.io/os': 'linux' },
      tolerations: [
        { key: 'nix', operator: 'Equal', value: 'a', effect: 'NoExecute', tolerationSeconds: 60 },
        { operator: 'Exists' },
      ],
      affinity: {
        podAntiAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            {
              weight: 1,
              podAffinityTerm: {
                labelSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] },
                topologyKey: 'kubernetes.io/hostname',
              },
            },
          ],
        },
      },
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'topology.kubernetes.io/zone',
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { team: 'a' } },
        },
      ],
      priorityClassName: 'important',
      imagePullSecrets: [{ name: 'registry' }],
      env: [
        { name: 'NARWHAL_LOG_FORMAT', value: 'pretty' },
        { name: 'EMPTY', value: '' },
        { name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
        { name: 'CPUS', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
      ],
    },
  },
  monitoring: { serviceMonitor: { enabled: true, interval: '30s', labels: { release: 'prometheus' } } },
  image: 'registry.example.org/narwhal:1',
  reclaimPolicy: 'Delete',
};

/** PostgreSQL and S3, all keys given, an autoscaler, an HTTPRoute. */
export const richFleet: Value = {
  storages: [{ name: 'bucket', s3: { bucket: 'nix' } }],
  database: {
    postgres: {
      secretRef: { name: 'database' },
      schema: 'fleet',
      tls: { mode: 'VerifyFull', caSecretRef: { name: 'database', key: 'ca.crt' } },
    },
  },
  rootSecretRef: { name: 'root' },
  signing: { secretRefs: [{ name: 'signing' }, { name: 'signing', key: 'older' }] },
  tokens: [{ name: 'ci', permissions: ['Write'], secretRef: { name: 'given', key: 'token' } }],
  autoscaling: { minReplicas: 2, maxReplicas: 5, targetCPUUtilizationPercentage: 70 },
  replicas: 2,
  httpRoute: {
    hostnames: ['nix.example.org', '*.nix.example.org'],
    parentRefs: [{ name: 'public', namespace: 'gateways', sectionName: 'https' }],
  },
  networkPolicy: { clientsFrom: [], metricsFrom: [] },
};

/** An authority that nobody trusts. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBNDCB56ADAgECAhRgh9y3TwHGNOrg6GyiqBbQmXDC4zAFBgMrZXAwDzENMAsG
A1UEAwwEdGVzdDAgFw0yNjExMzAwNDU3MDlaGA8yMTI2MTEwNjA0NTcwOVowDzEN
MAsGA1UEAwwEdGVzdDAqMAUGAytlcAMhAGMcgQtrOL0pmtWMDyFGviYDxtbfDkkv
m47BaMxOwAcJo1MwUTAdBgNVHQ4EFgQUtifeuO/0zvHY1bfmaQjwBG+dID4wHwYD
VR0jBBgwFoAUtifeuO/0zvHY1bfmaQjwBG+dID4wDwYDVR0TAQH/BAUwAwEB/zAF
BgMrZXADQQBCiAqXPkF5zaq/M9Wpkq3jcGc2aZLd/DiYMY0yyyjFyr/DG+bqbu69
ownvoqv2P+2phXPVMphfU/zxK/YFl+AD
-----END CERTIFICATE-----
`;

/** The Secrets that they and the examples name, with content that can be used. */
export function givenSecrets(): Record<string, Record<string, string>> {
  const root = randomBytes(32).toString('base64');
  const uri = 'postgresql://narwhal@db.example.org:5432/narwhal';
  const bucket = { accessKeyId: 'an-id', secretAccessKey: 'a-key' };
  return {
    bucket,
    given: { token: generateToken() },
    database: { uri, 'ca.crt': CERTIFICATE },
    root: { 'root.key': root },
    signing: { 'signing-key': generateSecretKey('fleet-2'), older: generateSecretKey('fleet-1') },
    'main-s3': bucket,
    'main-database': { uri },
    'main-root': { 'root.key': root },
    'main-signing': { 'signing-key': generateSecretKey('main-1') },
    'main-push-token': { token: generateToken() },
  };
}
