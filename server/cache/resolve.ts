/** From a manifest to what a cache runs with: Secrets resolved, quantities in bytes, defaults of a process filled in. */
import path from 'node:path';
import {
  type Documents,
  type BinaryCache as Manifest,
  type PinSpec,
  parseDuration,
  parseQuantity,
  rootKeyValue,
  type S3Spec,
  SecretError,
  type SecretRef,
  tokenValue,
  wordValue,
} from '../../crds/index.ts';
import { type Compression, parseStorePath } from '../nix/index.ts';
import type { S3Config, StrategyName } from '../storage/index.ts';
import type { ResolvedToken } from './access/index.ts';
import { type ReadSecret, secretReader, signingKeyValue } from './access/index.ts';
import { type DatabaseTarget, resolveTarget } from './database/index.ts';
import type { Keep, Pin } from './pins/index.ts';
import { defaultSettings, type RetentionSettings, type Settings } from './settings.ts';
import type { ResolvedSigning, RootSecret } from './signing/index.ts';
import type { ResolvedStorage } from './storages/index.ts';

export interface ResolvedCache {
  readonly name: string;
  readonly isPublic: boolean;
  /** For `nix-cache-info`; lower is asked first, cache.nixos.org has 40. */
  readonly priority: number;
  /** What clients are told to compress with. */
  readonly compression: Extract<Compression, 'zstd' | 'xz'>;
  readonly database: DatabaseTarget;
  readonly strategy: StrategyName;
  readonly storages: readonly ResolvedStorage[];
  readonly tokens: readonly ResolvedToken[];
  readonly pins: readonly Pin[];
  readonly signing: ResolvedSigning;
  readonly rootSecret: RootSecret;
  /** Where the manifest names keys of the cache, as `signing.secretRefs main-signing/key`. */
  readonly namedKeys: readonly string[];
  /** Those of them that are not there. */
  readonly missingKeys: readonly MissingKey[];
  readonly settings: Settings;
  readonly limits: {
    readonly maxNarInfoBytes: number;
    readonly maxQueryHashes: number;
    readonly maxRegisteredKeys: number;
  };
}

export interface MissingKey {
  /** One of `namedKeys`. */
  readonly at: string;
  /** A sentence. */
  readonly text: string;
}

export interface CachePlaces {
  /** Of this cache. */
  readonly folder: string;
  /** Where volumes are mounted, one for each local storage; undefined: they are folders of the cache. */
  readonly volumes: string | undefined;
}

/** @param overrides timers that only the process sets. @throws SecretError, DatabaseError Invalid */
export function resolveCache(
  manifest: Manifest,
  documents: Documents,
  { folder, volumes }: CachePlaces,
  overrides: Partial<Settings> = {},
): ResolvedCache {
  const { spec } = manifest;
  const secret = secretReader(documents, manifest.metadata.namespace);
  const namedKeys: string[] = [];
  const missingKeys: MissingKey[] = [];
  /** A key of the cache's own. One that is not mounted may come back, so the cache goes on without it. */
  const ownKey = <T>(field: string, ref: SecretRef, read: (bytes: Uint8Array) => T): T | undefined => {
    const at = `${field} ${ref.name}/${ref.key}`;
    namedKeys.push(at);
    try {
      return secret(ref, read);
    } catch (error) {
      if (!isMissing(error) || documents.mounted === undefined) throw error;
      missingKeys.push({ at, text: `${field}: ${error.message}` });
      return undefined;
    }
  };
  const root = spec.rootSecretRef && ownKey('rootSecretRef', spec.rootSecretRef, rootKeyValue);
  return {
    name: manifest.metadata.name,
    isPublic: spec.access === 'Public',
    priority: spec.priority,
    compression: spec.compression === 'Xz' ? 'xz' : 'zstd',
    database: resolveTarget(manifest, documents),
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
      ...(token.secretRef !== undefined && { secret: secret(token.secretRef, tokenValue) }),
    })),
    pins: (spec.pins ?? []).map(({ name, storePath, keep }) => ({
      name,
      path: parseStorePath(storePath),
      artifacts: [],
      keep: keepOf(keep),
    })),
    signing: {
      mode: spec.signing.mode,
      secretKeys: (spec.signing.secretRefs ?? []).map((ref) => ownKey('signing.secretRefs', ref, signingKeyValue)),
      publicKeys: spec.signing.publicKeys ?? [],
      upstreamKeys: (spec.upstreams ?? []).flatMap((upstream) => upstream.publicKeys ?? []),
    },
    rootSecret: spec.rootSecretRef === undefined ? 'generated' : (root ?? 'missing'),
    namedKeys,
    missingKeys,
    settings: settingsOf(spec, overrides),
    limits: {
      maxNarInfoBytes: parseQuantity(spec.limits.maxNarInfoSize),
      maxQueryHashes: spec.limits.maxQueryHashes,
      maxRegisteredKeys: spec.limits.maxRegisteredKeys,
    },
  };
}

function keepOf(keep: PinSpec['keep']): Keep {
  if (keep?.days !== undefined) return { tag: 'Days', contents: keep.days };
  return keep?.revisions === undefined ? null : { tag: 'Revisions', contents: keep.revisions };
}

function s3Config(s3: S3Spec, secret: ReadSecret): S3Config {
  const { bucket, region, endpoint, publicEndpoint, prefix = '', forcePathStyle, reads, uploads } = s3;
  const text = (key: string) => secret({ name: s3.credentialsSecretRef?.name ?? '', key }, wordValue);
  const optional = (key: string) => {
    try {
      return text(key);
    } catch (error) {
      if (isMissing(error)) return undefined;
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

/** As against a value that cannot be right. */
function isMissing(error: unknown): error is SecretError {
  return error instanceof SecretError && error.code !== 'SecretInvalid';
}

function settingsOf(
  { closures, limits, scrub, retention, quota }: Manifest['spec'],
  overrides: Partial<Settings>,
): Settings {
  return {
    ...defaultSettings,
    enforcesClosures: closures === 'Enforce',
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
    ...(quota !== undefined && { quotaBytes: parseQuantity(quota.maxSize), quotaSoft: quota.softPercent / 100 }),
    ...(retention !== undefined && { retention: retentionOf(retention) }),
    ...(scrub !== undefined && {
      scrubEveryMs: parseDuration(scrub.every),
      scrubBytesPerSecond: parseQuantity(scrub.rate) || undefined,
    }),
    ...overrides,
  };
}

function retentionOf(spec: NonNullable<Manifest['spec']['retention']>): RetentionSettings {
  const { days, maxSize, keepPins, minAgeSeconds, graceSeconds, everySeconds, highPercent, lowPercent } = spec;
  return {
    ...defaultSettings.retention,
    unusedMs: days === undefined ? undefined : days * 24 * 3600_000,
    maxBytes: maxSize === undefined ? undefined : parseQuantity(maxSize),
    keepPins,
    minAgeMs: minAgeSeconds * 1000,
    graceMs: graceSeconds * 1000,
    everyMs: everySeconds * 1000,
    high: highPercent / 100,
    low: lowPercent / 100,
  };
}
