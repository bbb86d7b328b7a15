/** From a manifest to what a cache runs with: Secrets resolved, quantities in bytes, defaults of a process filled in. */
import path from 'node:path';
import {
  type Documents,
  type BinaryCache as Manifest,
  parseQuantity,
  resolveSecret,
  type S3Spec,
  SecretError,
} from '../../crds/index.ts';
import type { Compression } from '../nix/index.ts';
import type { S3Config, StrategyName } from '../storage/index.ts';
import { type DatabasePlan, planDatabase } from './database-plan.ts';
import { CacheError } from './errors.ts';
import type { RootSecret, SigningPlan } from './keys.ts';
import { defaultSettings, type Settings } from './settings.ts';
import type { StoragePlan } from './storage-plan.ts';
import type { TokenPlan } from './tokens.ts';

export interface CachePlan {
  readonly name: string;
  readonly isPublic: boolean;
  /** For `nix-cache-info`; lower is asked first, cache.nixos.org has 40. */
  readonly priority: number;
  /** What clients are told to compress with. */
  readonly compression: Extract<Compression, 'zstd' | 'xz'>;
  readonly database: DatabasePlan;
  readonly strategy: StrategyName;
  readonly storages: readonly StoragePlan[];
  readonly tokens: readonly TokenPlan[];
  readonly signing: SigningPlan;
  readonly rootSecret: RootSecret;
  /** Sentences about Secrets with keys of the cache that are not there. */
  readonly missingKeys: readonly string[];
  readonly settings: Settings;
  readonly limits: {
    readonly maxNarInfoBytes: number;
    readonly maxQueryHashes: number;
    readonly maxRegisteredKeys: number;
  };
}

export interface PlanPlaces {
  /** Of this cache. */
  readonly folder: string;
  /** Where volumes are mounted, one for each local storage; undefined: they are folders of the cache. */
  readonly volumes: string | undefined;
}

/** @param overrides timers that only the process sets */
export function planCache(
  manifest: Manifest,
  documents: Documents,
  { folder, volumes }: PlanPlaces,
  overrides: Partial<Settings> = {},
): CachePlan {
  const { spec } = manifest;
  const secret = (ref: { name: string; key: string }) =>
    Buffer.from(resolveSecret(documents, ref, manifest.metadata.namespace));
  const missingKeys: string[] = [];
  /** A key of the cache's own. One that is not mounted may come back, so the cache goes on without it. */
  const ownKey = (field: string, ref: { name: string; key: string }) => {
    try {
      return secret(ref);
    } catch (error) {
      if (!(error instanceof SecretError) || documents.mounted === undefined) throw error;
      missingKeys.push(`${field}: ${error.message}`);
      return undefined;
    }
  };
  const root = spec.rootSecretRef && ownKey('rootSecretRef', spec.rootSecretRef);
  return {
    name: manifest.metadata.name,
    isPublic: spec.access === 'Public',
    priority: spec.priority,
    compression: spec.compression === 'Xz' ? 'xz' : 'zstd',
    database: planDatabase(manifest, documents),
    strategy: spec.strategy,
    storages: spec.storages.map((storage) => ({
      name: storage.name,
      mode: storage.mode,
      weight: storage.weight ?? 0,
      capacityBytes: storage.capacity === undefined ? undefined : parseQuantity(storage.capacity),
      // In a pod, whoever made the mistake does not look on, and a pod that ends takes along what works.
      isAwaited: volumes !== undefined,
      at:
        storage.s3 === undefined
          ? {
              kind: 'local',
              root: storage.local?.path ?? path.join(volumes ?? path.join(folder, 'storages'), storage.name),
              isMounted: volumes !== undefined,
            }
          : { kind: 's3', config: s3Config(storage.s3, secret) },
    })),
    tokens: (spec.tokens ?? []).map((token) => ({
      name: token.name,
      permissions: token.permissions,
      ...(token.expiresAt !== undefined && { expiresAt: new Date(token.expiresAt) }),
      ...(token.sha256 !== undefined && { sha256: token.sha256 }),
      ...(token.secretRef !== undefined && { secret: secret(token.secretRef).toString('utf8').trim() }),
    })),
    signing: {
      mode: spec.signing.mode,
      secretKeys: (spec.signing.secretRefs ?? []).map((ref) =>
        ownKey('signing.secretRefs', ref)?.toString('utf8').trim(),
      ),
      publicKeys: spec.signing.publicKeys ?? [],
      upstreamKeys: (spec.upstreams ?? []).flatMap((upstream) => upstream.publicKeys ?? []),
    },
    rootSecret: spec.rootSecretRef === undefined ? 'generated' : root === undefined ? 'missing' : rootKey(root),
    missingKeys,
    settings: settingsOf(spec.limits, overrides),
    limits: {
      maxNarInfoBytes: parseQuantity(spec.limits.maxNarInfoSize),
      maxQueryHashes: spec.limits.maxQueryHashes,
      maxRegisteredKeys: spec.limits.maxRegisteredKeys,
    },
  };
}

function s3Config(s3: S3Spec, secret: (ref: { name: string; key: string }) => Buffer): S3Config {
  const { bucket, region, endpoint, publicEndpoint, prefix = '', forcePathStyle, reads, uploads } = s3;
  const text = (key: string) =>
    secret({ name: s3.credentialsSecretRef?.name ?? '', key })
      .toString('utf8')
      .trim();
  const optional = (key: string) => {
    try {
      return text(key);
    } catch (error) {
      if (error instanceof SecretError) return undefined;
      throw error;
    }
  };
  const sessionToken = s3.credentialsSecretRef && optional('sessionToken');
  const credentials = s3.credentialsSecretRef && {
    accessKeyId: text('accessKeyId'),
    secretAccessKey: text('secretAccessKey'),
    ...(sessionToken !== undefined && { sessionToken }),
  };
  return { bucket, region, endpoint, publicEndpoint, prefix, forcePathStyle, credentials, reads, uploads };
}

/** 32 bytes, as they are or in base64. */
function rootKey(bytes: Buffer): Buffer {
  const key = bytes.length === 32 ? bytes : Buffer.from(bytes.toString('utf8').trim(), 'base64');
  if (key.length !== 32) throw new CacheError('Invalid', 'rootSecretRef: expected 32 bytes, or their base64');
  return key;
}

function settingsOf(limits: Manifest['spec']['limits'], overrides: Partial<Settings>): Settings {
  return {
    ...defaultSettings,
    uploadExpiryMs: limits.uploadExpirySeconds * 1000,
    orphanRetentionMs: limits.orphanRetentionSeconds * 1000,
    maxPartBytes: parseQuantity(limits.maxPartSize),
    maxNarBytes: parseQuantity(limits.maxNarSize),
    maxLogBytes: parseQuantity(limits.maxLogSize),
    maxListingBytes: parseQuantity(limits.maxListingSize),
    maxRealisationBytes: parseQuantity(limits.maxRealisationSize),
    maxDebugInfoBytes: parseQuantity(limits.maxDebugInfoSize),
    maxOpenUploads: limits.maxOpenUploads,
    diskReserveBytes: parseQuantity(limits.diskReserve),
    // 0 is no limit: a drain that never ends is ReadOnly.
    moveBytesPerSecond: limits.moveRate === undefined ? undefined : parseQuantity(limits.moveRate) || undefined,
    ...overrides,
  };
}
