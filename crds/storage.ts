import { bytes, httpUrl, objectName } from './fields.ts';
import type { Of, Schema } from './schema.ts';

const local = {
  type: 'object',
  description: 'A folder on a disk.',
  properties: {
    path: {
      type: 'string',
      minLength: 2,
      maxLength: 1024,
      pattern: '^/[^\\x00]*[^/\\x00]$',
      allowed: 'an absolute path without a slash at the end',
      description:
        'Folder of the storage where the server is a plain process. Absent: `storages/<name>` in the folder of the cache, or the volume below `--storages`. A cluster mounts a volume instead and ignores it.',
    },
    size: { ...bytes, default: '10Gi', description: 'Size of the volume. It can grow, never shrink.' },
    storageClassName: {
      ...objectName,
      description: 'StorageClass of the volume. Absent: the default class. It cannot change.',
    },
    accessMode: {
      type: 'string',
      enum: ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany'],
      default: 'ReadWriteOnce',
      description: 'Access mode of the volume. More than one replica needs `ReadWriteMany`.',
    },
  },
} as const satisfies Schema;

const s3 = {
  type: 'object',
  description: 'A bucket of an S3 service.',
  required: ['bucket'],
  properties: {
    bucket: {
      type: 'string',
      minLength: 3,
      maxLength: 63,
      pattern: '^[a-z0-9][-.a-z0-9]*[a-z0-9]$',
      allowed: 'lower-case letters, digits, dashes and dots, beginning and ending with a letter or digit',
      description: 'Name of the bucket. It cannot change.',
    },
    region: { type: 'string', minLength: 1, maxLength: 64, default: 'us-east-1', description: 'Region of the bucket.' },
    endpoint: {
      ...httpUrl,
      description: 'URL of the service as the server reaches it. Absent: AWS. It cannot change.',
    },
    publicEndpoint: {
      ...httpUrl,
      description: 'URL of the service as clients reach it, used in redirects and upload URLs. Absent: `endpoint`.',
    },
    prefix: {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      pattern: '^[^/\\x00]([^\\x00]*[^/\\x00])?$',
      allowed: 'a text that neither begins nor ends with a slash',
      description:
        'Folder inside the bucket, so that several owners can share it. Absent: the whole bucket. It cannot change.',
    },
    forcePathStyle: {
      type: 'boolean',
      default: false,
      description:
        'Name the bucket in the path of a URL rather than in its host. Most services other than AWS want this.',
    },
    credentialsSecretRef: {
      type: 'object',
      description:
        'Secret with the keys `accessKeyId` and `secretAccessKey`, and `sessionToken` where there is one. Absent: the credentials of the machine or of the ServiceAccount.',
      required: ['name'],
      properties: { name: { ...objectName, description: 'Name of the Secret.' } },
    },
    reads: {
      type: 'string',
      enum: ['Redirect', 'Proxy'],
      default: 'Redirect',
      description: 'How NARs reach clients: by a redirect to the service, or through the server.',
    },
    uploads: {
      type: 'string',
      enum: ['Direct', 'Proxy'],
      default: 'Direct',
      description: 'How the parts of an upload reach the service: straight from the client, or through the server.',
    },
  },
} as const satisfies Schema;

/** One place where a cache keeps its bytes. */
export const storage = {
  type: 'object',
  required: ['name'],
  properties: {
    name: {
      type: 'string',
      minLength: 1,
      maxLength: 15,
      pattern: '^[a-z][a-z0-9]{0,14}$',
      allowed: 'a lower-case letter followed by at most 14 lower-case letters or digits, and not "db"',
      description:
        'Name of the storage. Its data belongs to this name, so renaming means adding one and draining the other.',
    },
    mode: {
      type: 'string',
      enum: ['ReadWrite', 'ReadOnly', 'Drain', 'Abandoned'],
      default: 'ReadWrite',
      description:
        '`ReadOnly` takes nothing new. `Drain` moves everything to the other storages, after which the storage can be removed. `Abandoned` gives the data up.',
    },
    weight: {
      type: 'integer',
      minimum: 0,
      maximum: 100,
      description: 'Share of the bytes in percent for the strategy `Split`. All weights of a cache make 100.',
    },
    capacity: {
      ...bytes,
      description: 'Nothing new is placed here once this much is stored. Absent: as much as fits.',
    },
    local,
    s3,
  },
} as const satisfies Schema;

export type StorageSpec = Of<typeof storage>;
export type LocalSpec = Of<typeof local>;
export type S3Spec = Of<typeof s3>;
