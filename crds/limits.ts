import { bytes } from './fields.ts';
import type { Of, Schema } from './schema.ts';

/** Bounds that the server keeps. Each has a default, so a manifest names only what it changes. */
export const limits = {
  type: 'object',
  default: {},
  description: 'Bounds that protect the server.',
  properties: {
    uploadExpirySeconds: {
      type: 'integer',
      format: 'int64',
      minimum: 60,
      maximum: 604800,
      default: 86400,
      description: 'An upload that is not completed after this time is removed.',
    },
    orphanRetentionSeconds: {
      type: 'integer',
      format: 'int64',
      minimum: 60,
      maximum: 31536000,
      default: 86400,
      description: 'A NAR without a narinfo is kept at least this long.',
    },
    maxOpenUploads: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 1000000,
      default: 10000,
      description: 'Uploads in progress at one time.',
    },
    maxQueryHashes: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 1000000,
      default: 65536,
      description: 'Hashes in one query for missing paths.',
    },
    maxRegisteredKeys: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 1000,
      default: 32,
      description: 'Public keys that clients of a self-signed cache can register.',
    },
    maxNarInfoSize: {
      ...bytes,
      default: '64Ki',
      description:
        'Largest narinfo. Signatures by keys that the cache does not know are kept up to three quarters of it.',
    },
    maxNarSize: { ...bytes, default: '256Gi', description: 'Largest NAR, decompressed.' },
    maxPartSize: { ...bytes, default: '5Gi', description: 'Largest part of an upload.' },
    maxListingSize: { ...bytes, default: '64Mi', description: 'Largest listing (`.ls`).' },
    maxLogSize: { ...bytes, default: '64Mi', description: 'Largest build log.' },
    maxRealisationSize: { ...bytes, default: '64Ki', description: 'Largest realisation.' },
    maxDebugInfoSize: { ...bytes, default: '64Ki', description: 'Largest index entry for debug information.' },
    diskReserve: {
      ...bytes,
      default: '256Mi',
      description: 'Bytes that are left free on the disk of a local storage.',
    },
    moveRate: {
      ...bytes,
      description: 'Bytes per second that are read to move objects out of storages. Absent or 0: as fast as it goes.',
    },
  },
} as const satisfies Schema;

export type LimitsSpec = Of<typeof limits>;
