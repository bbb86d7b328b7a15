import {
  bytes,
  dnsLabel,
  expiresAt,
  httpUrl,
  objectName,
  publicKey,
  secretKey,
  sha256,
  tokenSecretRef,
} from './fields.ts';
import { limits } from './limits.ts';
import { mostPins, pin } from './pin.ts';
import { autoscaling, httpRoute, ingress, monitoring, networkPolicy, podTemplate } from './pod.ts';
import { retention } from './retention.ts';
import type { Of, Schema } from './schema.ts';
import { scrub } from './scrub.ts';
import { storage } from './storage.ts';

/** Tokens that a manifest lists. */
export const mostTokens = 128;

const token = {
  type: 'object',
  required: ['name', 'permissions'],
  properties: {
    name: { ...dnsLabel, description: 'Name of the token, in logs and as the name of its file.' },
    permissions: {
      type: 'array',
      minItems: 1,
      maxItems: 3,
      'x-kubernetes-list-type': 'set',
      items: { type: 'string', enum: ['Read', 'Write', 'Admin'] },
      description: 'What the token may do. `Admin` includes `Write`, `Write` includes `Read`.',
    },
    expiresAt,
    sha256,
    secretRef: tokenSecretRef,
  },
} as const satisfies Schema;

const database = {
  type: 'object',
  default: {},
  description: 'Where the cache keeps what it knows. Absent: SQLite.',
  properties: {
    sqlite: {
      type: 'object',
      description: 'A file of its own on a volume of its own.',
      properties: {
        size: { ...bytes, default: '10Gi', description: 'Size of the volume. It can grow, never shrink.' },
        storageClassName: {
          ...objectName,
          description: 'StorageClass of the volume. Absent: the default class. It cannot change.',
        },
      },
    },
    postgres: {
      type: 'object',
      description: 'A PostgreSQL server. Root key, signing keys and tokens must then be given; none is generated.',
      required: ['secretRef'],
      properties: {
        secretRef: {
          type: 'object',
          description:
            'Secret that holds the connection URL under `key`, or, where it has no such key, the usual ones: host, port, user (or username), password, dbname (or database).',
          required: ['name'],
          properties: {
            name: { ...objectName, description: 'Name of the Secret.' },
            key: { ...secretKey, default: 'uri', description: 'Key inside the Secret.' },
          },
        },
        schema: {
          type: 'string',
          minLength: 1,
          maxLength: 63,
          pattern: '^[a-z_][a-z0-9_]*$',
          allowed: 'lower-case letters, digits and underscores, not beginning with a digit',
          description:
            'Schema of the database that belongs to this cache alone. Absent: the name of the cache, dashes as underscores.',
        },
        tls: {
          type: 'object',
          description: 'How the connection is protected. Absent: as `sslmode` of the URL says, else without TLS.',
          required: ['mode'],
          properties: {
            mode: {
              type: 'string',
              enum: ['Disable', 'Require', 'VerifyCa', 'VerifyFull'],
              description:
                '`Require`: encrypted, whoever answers. `VerifyCa`: by a server whose certificate the CA signed. `VerifyFull`: whose certificate is for the host of the URL too.',
            },
            caSecretRef: {
              type: 'object',
              description:
                'Secret with the certificates, in PEM, of the CA to trust. Absent with `VerifyFull`: the CAs that the world trusts.',
              required: ['name'],
              properties: {
                name: { ...objectName, description: 'Name of the Secret.' },
                key: { ...secretKey, default: 'ca.crt', description: 'Key inside the Secret.' },
              },
            },
          },
        },
      },
    },
  },
} as const satisfies Schema;

const signing = {
  type: 'object',
  default: {},
  description: 'Who signs the paths.',
  properties: {
    mode: {
      type: 'string',
      enum: ['Managed', 'SelfSigned'],
      default: 'Managed',
      description:
        '`Managed`: the server signs what it publishes. `SelfSigned`: pushers sign, the server only verifies.',
    },
    secretRefs: {
      type: 'array',
      minItems: 1,
      maxItems: 4,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name', 'key'],
      description:
        'Secrets with the keys to sign with; all of them sign, so that a key can be replaced without a gap. Absent: one key is generated once.',
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { ...objectName, description: 'Name of the Secret.' },
          key: {
            ...secretKey,
            default: 'signing-key',
            description: 'Key inside the Secret. It holds the signing key in the form of Nix.',
          },
        },
      },
    },
    publicKeys: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'set',
      items: publicKey,
      description: 'With `SelfSigned`: the keys that pushers sign with, beside those that they registered themselves.',
    },
  },
} as const satisfies Schema;

const upstream = {
  type: 'object',
  required: ['url'],
  properties: {
    url: { ...httpUrl, description: 'URL of the cache.' },
    publicKeys: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'set',
      items: publicKey,
      description: 'Keys that its paths must be signed with. `Proxy` needs them.',
    },
    mode: {
      type: 'string',
      enum: ['Skip', 'Proxy'],
      default: 'Skip',
      description:
        '`Skip`: pushers need not push what is there. `Proxy`: what is missing here is fetched from there and kept.',
    },
  },
} as const satisfies Schema;

/** Everything that a person may ask of a cache. */
export const binaryCacheSpec = {
  type: 'object',
  required: ['storages'],
  properties: {
    access: {
      type: 'string',
      enum: ['Public', 'Private'],
      default: 'Public',
      description: 'Who may pull: everyone, or tokens with `Read` only. A push always needs a token with `Write`.',
    },
    priority: {
      type: 'integer',
      format: 'int32',
      minimum: 0,
      maximum: 1000,
      default: 41,
      description: 'Rank among the caches of a client; the lowest number is asked first. cache.nixos.org has 40.',
    },
    compression: {
      type: 'string',
      enum: ['Zstd', 'Xz'],
      default: 'Zstd',
      description: 'Compression that the server asks of Cachix clients.',
    },
    strategy: {
      type: 'string',
      enum: ['InOrder', 'RoundRobin', 'Split', 'LeastUsed'],
      default: 'InOrder',
      description:
        'Which storage takes a new object: the first with room, each in turn, by `weight`, or the one that is least full.',
    },
    storages: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'Where the bytes live.',
      items: storage,
    },
    closures: {
      type: 'string',
      enum: ['Enforce', 'Warn'],
      default: 'Enforce',
      description:
        'Whether readers get a path before all that it refers to is in this cache: not at all, or with a warning in status and metrics.',
    },
    database,
    signing,
    rootSecretRef: {
      type: 'object',
      description:
        'Secret with the root key of the cache: 32 random bytes. Absent: generated once, except with PostgreSQL.',
      required: ['name'],
      properties: {
        name: { ...objectName, description: 'Name of the Secret.' },
        key: { ...secretKey, default: 'root.key', description: 'Key inside the Secret.' },
      },
    },
    tokens: {
      type: 'array',
      maxItems: mostTokens,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description:
        'Who may do what. A token with neither `sha256` nor `secretRef` is generated once and written to a file (in a cluster: a Secret).',
      items: token,
    },
    pins: {
      type: 'array',
      maxItems: mostPins,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'Paths that stay, whoever uses them. Clients pin others with `cachix pin`.',
      items: pin,
    },
    retention,
    quota: {
      type: 'object',
      description: 'Bound on what is stored. Absent: none.',
      required: ['maxSize'],
      properties: {
        maxSize: {
          ...bytes,
          description:
            'Pushes beyond this size are refused. All bytes count, those of removed paths until they are gone.',
        },
        softPercent: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 100,
          default: 85,
          description: 'The part of it from which on the condition `WithinQuota` and an alert warn.',
        },
      },
    },
    scrub,
    limits,
    upstreams: {
      type: 'array',
      maxItems: 16,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['url'],
      description: 'Other caches that this one knows of.',
      items: upstream,
    },
    peers: {
      type: 'object',
      description: 'Share paths with other servers of the same cache. Absent: off.',
      properties: {
        port: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 65535,
          default: 4001,
          description: 'Port for other servers.',
        },
        bootstrap: {
          type: 'array',
          maxItems: 32,
          'x-kubernetes-list-type': 'set',
          items: { type: 'string', minLength: 1, maxLength: 512 },
          description: 'Addresses to begin with, `host:port` or multiaddr.',
        },
        secretRef: {
          type: 'object',
          description: 'Secret with the key that all members share. Absent: derived from the root key.',
          required: ['name'],
          properties: {
            name: { ...objectName, description: 'Name of the Secret.' },
            key: { ...secretKey, default: 'swarm.key', description: 'Key inside the Secret.' },
          },
        },
      },
    },
    replicas: {
      type: 'integer',
      format: 'int32',
      minimum: 0,
      maximum: 64,
      default: 1,
      description: 'Number of pods. More than one needs PostgreSQL and storages that all pods share.',
    },
    autoscaling,
    ingress,
    httpRoute,
    podTemplate,
    monitoring,
    networkPolicy,
    image: {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      pattern: '^\\S+$',
      allowed: 'an image reference without spaces',
      description: 'Image of the server. Absent: the one that belongs to the operator.',
    },
    reclaimPolicy: {
      type: 'string',
      enum: ['Retain', 'Delete'],
      default: 'Retain',
      description: 'What happens to data and keys when the cache is deleted.',
    },
  },
} as const satisfies Schema;

export type BinaryCacheSpec = Of<typeof binaryCacheSpec>;
export type TokenSpec = Of<typeof token>;
export type Permission = TokenSpec['permissions'][number];
export type SigningSpec = Of<typeof signing>;
export type DatabaseSpec = Of<typeof database>;
export type UpstreamSpec = Of<typeof upstream>;
