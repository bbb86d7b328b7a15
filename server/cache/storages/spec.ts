/** A storage as the manifest describes it, and the object that stands for it. */
import path from 'node:path';
import type { Logger } from 'pino';
import {
  type ByteBudget,
  createS3Storage,
  LocalStorage,
  placeOf,
  Readers,
  type S3Config,
  type Storage,
} from '../../storage/index.ts';
import { withRetries } from '../flow/index.ts';
import type { CacheMetrics } from '../metrics.ts';
import type { Settings } from '../settings.ts';

export type StorageMode = 'ReadWrite' | 'ReadOnly' | 'Drain' | 'Abandoned';

/** Paths resolved, Secrets filled in. */
export interface ResolvedStorage {
  readonly name: string;
  readonly mode: StorageMode;
  readonly weight: number;
  readonly capacityBytes: number | undefined;
  /** Whether the cache goes on without it while it cannot be opened for the first time. Otherwise the manifest is wrong. */
  readonly isAwaited: boolean;
  readonly at: LocalPlace | { readonly kind: 's3'; readonly config: S3Config };
}

export interface LocalPlace {
  readonly kind: 'local';
  readonly root: string;
  /** Whether it is a mounted volume, which may come later than the manifest that names it. */
  readonly isMounted: boolean;
}

/** Where a spec's bytes are, as `Storage.place` says it. */
export function placeOfResolved({ at }: ResolvedStorage): string {
  return at.kind === 'local' ? path.resolve(at.root) : placeOf(at.config);
}

/** Where names are written down before there are bytes under them. */
export interface NameKeeper {
  begin(storage: string, name: string): Promise<void>;
  drop(storage: string, name: string): void;
}

export interface StorageParts {
  readonly cache: string;
  readonly cacheId: string;
  /** Whether other servers use the storages too. */
  readonly isShared: boolean;
  readonly settings: Settings;
  readonly intents: NameKeeper;
  /** Memory for bytes on their way to S3. */
  readonly budget: ByteBudget;
  readonly metrics: CacheMetrics;
  readonly logger: Logger;
}

/** Not opened yet. */
export function createStorage({ name, at }: ResolvedStorage, parts: StorageParts): Storage | Promise<Storage> {
  const { cache, cacheId, isShared, settings, intents, metrics, logger } = parts;
  if (at.kind === 'local')
    return new LocalStorage({
      name,
      root: at.root,
      cache,
      cacheId,
      isShared,
      isMounted: at.isMounted,
      reserveBytes: settings.diskReserveBytes,
      readers: settings.objectsGid === undefined ? undefined : new Readers(settings.objectsGid),
      onWarning: (text) => logger.warn({ storage: name }, text),
    });
  return createS3Storage({
    name,
    config: at.config,
    marker: { cacheId, cache, storage: name },
    budget: parts.budget,
    onBegin: (object) => intents.begin(name, object),
    onDiscard: (object) => intents.drop(name, object),
    withRetries: (work) => withRetries(work, settings.transientRetryMs),
    onRequest: (request) => metrics.s3Request(cache, name, request),
    onWarning: (text) => logger.warn({ storage: name }, text),
  });
}

/** Takes over what may change while a storage is open. */
export function configureStorage(storage: Storage, { at }: ResolvedStorage): void {
  if (at.kind === 's3' && isS3(storage)) storage.configure(at.config);
}

function isS3(storage: Storage): storage is Storage & { configure(config: S3Config): void } {
  return storage.kind === 's3' && 'configure' in storage;
}
