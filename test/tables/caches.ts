/** Caches that use every feature between them, beside those of examples/. */
import type { Inputs } from '../../operator/cache/desired/inputs.ts';
import type { Value } from '../support/manifests.ts';

const sha256 = 'a'.repeat(64);
const publicKey = `builders-1:${'A'.repeat(43)}=`;

/** All that may be said of pods. */
export const podTemplate: Value = {
  metadata: { labels: { team: 'builds', tier: 'cache' }, annotations: { 'example.org/owner': 'builds' } },
  spec: {
    resources: { requests: { cpu: '1000m', memory: '1024Mi' }, limits: { memory: '2Gi' } },
    nodeSelector: { 'example.org/disk': 'fast' },
    tolerations: [{ key: 'dedicated', operator: 'Equal', value: 'cache', effect: 'NoSchedule' }],
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          {
            weight: 100,
            podAffinityTerm: {
              topologyKey: 'kubernetes.io/hostname',
              labelSelector: { matchLabels: { 'app.kubernetes.io/name': 'narwhal' } },
            },
          },
        ],
      },
    },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway' },
    ],
    priorityClassName: 'important',
    serviceAccountName: 'cache-with-a-role',
    imagePullSecrets: [{ name: 'registry' }],
    env: [
      { name: 'NARWHAL_LOG_LEVEL', value: 'debug' },
      { name: 'NARWHAL_LOG_FORMAT', value: 'pretty' },
      { name: 'HTTPS_PROXY', valueFrom: { secretKeyRef: { name: 'proxy', key: 'url' } } },
    ],
  },
};

export interface NamedCache {
  readonly title: string;
  readonly name: string;
  readonly spec: Value;
  readonly inputs?: Partial<Inputs>;
}

export const CACHES: readonly NamedCache[] = [
  {
    title: 'stateless servers that scale by load, behind an Ingress',
    name: 'fleet',
    spec: {
      storages: [
        {
          name: 'bucket',
          s3: {
            bucket: 'nix-cache',
            endpoint: 'https://s3.example.org',
            publicEndpoint: 'https://s3.public.example.org',
            prefix: 'fleet',
            forcePathStyle: true,
            credentialsSecretRef: { name: 'fleet-s3' },
            reads: 'Proxy',
            uploads: 'Proxy',
          },
        },
        { name: 'nfs', local: { size: '1Ti', accessMode: 'ReadWriteMany', storageClassName: 'nfs' } },
      ],
      database: {
        postgres: {
          secretRef: { name: 'fleet-database' },
          schema: 'fleet',
          tls: { mode: 'VerifyCa', caSecretRef: { name: 'fleet-database-ca' } },
        },
      },
      rootSecretRef: { name: 'fleet-root' },
      signing: { secretRefs: [{ name: 'fleet-signing' }, { name: 'fleet-signing-next', key: 'next' }] },
      tokens: [
        { name: 'ci', permissions: ['Write'], sha256 },
        { name: 'release', permissions: ['Admin'], secretRef: { name: 'fleet-tokens', key: 'release' } },
      ],
      replicas: 3,
      autoscaling: { minReplicas: 2, maxReplicas: 8, targetCPUUtilizationPercentage: 60 },
      ingress: {
        host: 'nix.example.org',
        className: 'nginx',
        tlsSecretName: 'nix-example-org',
        annotations: { 'nginx.ingress.kubernetes.io/proxy-body-size': '0' },
      },
      monitoring: { serviceMonitor: { enabled: true, interval: '30s', labels: { release: 'prometheus' } } },
      networkPolicy: {
        metricsFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
        clientsFrom: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }],
      },
      podTemplate,
      reclaimPolicy: 'Delete',
    },
    inputs: { trustedProxies: ['10.0.0.0/8', '192.0.2.1'] },
  },
  {
    title: 'three storages, one of them being emptied, and tokens of every sort',
    name: 'disks',
    spec: {
      access: 'Private',
      strategy: 'LeastUsed',
      compression: 'Xz',
      priority: 30,
      limits: { maxNarSize: '8Gi', moveRate: '10Mi' },
      storages: [
        { name: 'main', capacity: '90Gi', local: { size: '100Gi', storageClassName: 'fast', path: '/mnt/main' } },
        { name: 'bucket', s3: { bucket: 'nix-cache' } },
        { name: 'old', mode: 'Drain', local: { size: '0.5Ti', accessMode: 'ReadWriteOncePod' } },
      ],
      database: { sqlite: { size: '20Gi', storageClassName: 'fast' } },
      retention: { days: 60, maxSize: '15Gi', graceSeconds: 2592000 },
      pins: [
        { name: 'production', storePath: `/nix/store/${'0'.repeat(32)}-app`, keep: { revisions: 5 } },
        { name: 'release/1.4', storePath: `/nix/store/${'1'.repeat(32)}-app` },
      ],
      tokens: [
        { name: 'developers', permissions: ['Read'] },
        { name: 'ci', permissions: ['Write'], expiresAt: '2040-01-01T00:00:00Z' },
        { name: 'by-hash', permissions: ['Read'], sha256 },
        { name: 'by-secret', permissions: ['Read', 'Admin'], secretRef: { name: 'tokens' } },
      ],
      image: 'registry.example.org/narwhal@sha256:0123456789abcdef',
    },
  },
  {
    title: 'a cache that others sign, behind an HTTPRoute',
    name: 'self-signed',
    spec: {
      signing: { mode: 'SelfSigned', publicKeys: [publicKey] },
      httpRoute: {
        hostnames: ['nix.example.org', '*.nix.example.org'],
        parentRefs: [{ name: 'public', namespace: 'gateways', sectionName: 'https' }],
      },
      networkPolicy: { enabled: false },
    },
    inputs: { apiUrl: undefined },
  },
  {
    title: 'a cache without a public name, in a cluster with nothing optional',
    name: 'plain',
    spec: {
      httpRoute: { hostnames: ['nix.example.org'], parentRefs: [{ name: 'public' }] },
      monitoring: { serviceMonitor: { enabled: true } },
      replicas: 0,
    },
    inputs: { apiUrl: undefined, served: { httpRoute: false, serviceMonitor: false } },
  },
];
