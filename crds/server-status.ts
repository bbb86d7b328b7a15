/** What a server answers to `GET /status` on its admin port: the contract between it and whoever watches over it. */
import type { BinaryCacheSpec } from './binary-cache.ts';
import type { StorageSpec } from './storage.ts';

export interface ServerStatus {
  readonly version: string;
  /** False until the first configuration runs, and again once the server stops. */
  readonly ready: boolean;
  readonly config: {
    /** The manifests that run: after a change that could not be applied, those from before it. */
    readonly files: readonly ConfigFile[];
    /** Why the files that are there now do not run; null: they do. */
    readonly error: string | null;
  };
  readonly caches: readonly CacheStatus[];
}

export interface ConfigFile {
  /** Without its folder. */
  readonly name: string;
  /** Of the file's bytes, in hex. */
  readonly sha256: string;
}

export interface CacheStatus {
  readonly name: string;
  readonly access: BinaryCacheSpec['access'];
  /** Store paths that are published. */
  readonly paths: number;
  /** `name:base64`, the one that new clients are told of first. */
  readonly publicKeys: readonly string[];
  /** Why the database cannot be used, or takes no more; null: it is well. */
  readonly databaseError: string | null;
  /** Which key is missing, so that no pushes are taken; null: none. */
  readonly keysLost: string | null;
  /** Uploads that hold a file open. */
  readonly uploads: number;
  /** Objects whose bytes are gone, cut short or changed, in all storages; null: the database does not answer. */
  readonly lostObjects: number | null;
  /** Paths that readers do not get because something of their closure is not here; null: the database does not answer. */
  readonly waiting: WaitingStatus | null;
  /** Names that are pinned; null: the database does not answer. */
  readonly pins: PinsStatus | null;
  /** What is stored, and the last run of the garbage collection; null: the database does not answer. */
  readonly usage: UsageStatus | null;
  /** The looks at all objects, where the manifest asks for them. */
  readonly scrubs: readonly ScrubStatus[];
  readonly storages: readonly StorageStatus[];
}

export interface WaitingStatus {
  /** 10 000 where there may be more. */
  readonly paths: number;
  /** Since when the one that waits longest does. */
  readonly since: string | null;
}

export interface UsageStatus {
  /** Of all objects in all storages: those of retired paths too, and logs. */
  readonly bytes: number;
  /** Store paths that are published. */
  readonly paths: number;
  /** Unpublished paths whose grace is not over; 100 000 where there may be more. */
  readonly retiredPaths: number;
  /** The newest that has chosen what goes; null: there was none. */
  readonly lastGC: CollectionStatus | null;
}

/** One run of the garbage collection. */
export interface CollectionStatus {
  readonly run: number;
  readonly begunAt: string;
  /** Null: it is under way. */
  readonly endedAt: string | null;
  /** `held`: somebody has to confirm it before anything is removed. */
  readonly state: 'running' | 'held' | 'done' | 'failed';
  /** Why it is held, or has failed. */
  readonly message: string | null;
  /** Published when it began. */
  readonly paths: number;
  readonly bytes: number;
  /** Of these, what goes, would go, or has gone. */
  readonly removedPaths: number;
  readonly removedBytes: number;
}

export interface PinsStatus {
  readonly names: number;
  /** Pins of the manifest whose path is not published here. */
  readonly missing: number;
  /** The first few of them, by name. */
  readonly firstMissing: readonly { readonly name: string; readonly storePath: string }[];
}

/** One look at all objects. */
export interface ScrubStatus {
  readonly depth: 'sizes' | 'contents';
  readonly begunAt: string;
  /** Null: it is under way. */
  readonly endedAt: string | null;
  /** Looked at. */
  readonly objects: number;
  readonly bytes: number;
  /** Of these. */
  readonly lost: number;
}

export type StoragePhase = 'Ready' | 'Unavailable' | 'Draining' | 'Paused' | 'Drained' | 'Abandoned';

export interface StorageStatus {
  readonly name: string;
  readonly mode: StorageSpec['mode'];
  /** Whether it can be used now. */
  readonly state: 'Ready' | 'Unavailable';
  readonly phase: StoragePhase;
  /** Why it is unavailable, in words, or why nothing is moved, in one word. */
  readonly reason?: string;
  /** Of all objects. */
  readonly usedBytes: number;
  /** What may still be written; absent for buckets and where the medium cannot be asked. */
  readonly freeBytes?: number;
  /** `capacity` of the manifest, else the size of the file system; absent where neither is known. */
  readonly capacityBytes?: number;
  /** Of one that is written to: it has no room, or a write has found none a moment ago. */
  readonly full?: boolean;
  /** Writes under way here. */
  readonly writes: number;
  /** Objects whose bytes are gone, cut short or changed; absent: the database does not answer. */
  readonly lostObjects?: number;
  /** Of a storage that is drained or given up: what is left. */
  readonly objects?: number;
  readonly bytes?: number;
  /** Moved already, and waiting until nobody reads them here. */
  readonly tombstones?: number;
  readonly uploads?: number;
  readonly movedObjects?: number;
  readonly movedBytes?: number;
  readonly bytesPerSecond?: number;
  readonly failedObjects?: number;
  readonly lastError?: string;
}
