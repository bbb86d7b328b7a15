/** Every bound and timer of a cache, named. The manifest's `spec.limits` sets them; tests shorten them. */
/** What is removed by itself. */
export interface RetentionSettings {
  /** Paths that nobody used for so long; undefined: age is no reason. */
  readonly unusedMs: number | undefined;
  /** What is published; undefined: size is no reason. */
  readonly maxBytes: number | undefined;
  readonly keepPins: boolean;
  /** Younger paths stay. */
  readonly minAgeMs: number;
  /** Bytes of retired paths stay so long. */
  readonly graceMs: number;
  readonly everyMs: number;
  /** Parts of `maxBytes`: above the first, paths go until the second. */
  readonly high: number;
  readonly low: number;
}

export interface Settings {
  readonly retention: RetentionSettings;
  /** All that is stored, at most; undefined: there is no bound. */
  readonly quotaBytes: number | undefined;
  /** The part of it that people are warned at. */
  readonly quotaSoft: number;
  /** What a retired path needed stays so much longer: whoever has just read its narinfo gets its closure. */
  readonly rootsFirstMs: number;
  /** Whether readers get a path only when all that it refers to is here. */
  readonly enforcesClosures: boolean;
  /** An upload that is not completed by then is dropped. */
  readonly uploadExpiryMs: number;
  /** A NAR without a narinfo is kept this long: nix 2.35 sends all NARs first. */
  readonly orphanRetentionMs: number;
  readonly maxPartBytes: number;
  readonly maxNarBytes: number;
  readonly maxLogBytes: number;
  readonly maxListingBytes: number;
  readonly maxRealisationBytes: number;
  readonly maxDebugInfoBytes: number;
  readonly maxOpenUploads: number;
  /** Uploads that keep their file open: beyond it, those that nobody used for `minAwakeMs` are closed. */
  readonly maxAwakeUploads: number;
  readonly minAwakeMs: number;
  /** Free bytes of a disk that are never used. */
  readonly diskReserveBytes: number;
  /** Between two looks for expired uploads and orphans. */
  readonly housekeepingMs: number;
  /** Uses of paths are written down this often. */
  readonly useFlushMs: number;
  /** Between two looks at a storage that is ill. */
  readonly storageRetryMs: number;
  /** A storage that reported "full" is avoided this long. */
  readonly fullRetryMs: number;
  /** A transient failure behind a write is retried inside the server this long: nix before 2.33.2 cannot repeat a PUT. */
  readonly transientRetryMs: number;
  /** Connections to PostgreSQL that one server has at most, beside the one that listens. */
  readonly databaseConnections: number;
  /** Longest statement of PostgreSQL. */
  readonly databaseTimeoutMs: number;
  /** A PostgreSQL server that cannot be reached at the start is waited for this long. */
  readonly databaseWaitMs: number;
  /** Bytes of an object that was moved stay this long, for downloads that run. */
  readonly moveGraceMs: number;
  /** How fast bytes are read to be moved; undefined: as fast as it goes. */
  readonly moveBytesPerSecond: number | undefined;
  /** An upload that was begun in a storage this long ago does not hold up its draining: it is aborted. */
  readonly drainUploadMs: number;
  /** Between two looks at the contents of all objects; undefined: nobody looks. */
  readonly scrubEveryMs: number | undefined;
  /** How fast bytes are read for that; undefined: as fast as it goes. */
  readonly scrubBytesPerSecond: number | undefined;
  /** A group of the system that may read the bytes of objects in folders, and nothing else of them. */
  readonly objectsGid: number | undefined;
  /** Rendered narinfos kept in memory. */
  readonly narinfoCacheBytes: number;
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;

export const defaultSettings: Settings = {
  retention: {
    unusedMs: undefined,
    maxBytes: undefined,
    keepPins: true,
    minAgeMs: 24 * 3600_000,
    graceMs: 24 * 3600_000,
    everyMs: 3600_000,
    high: 1,
    low: 0.9,
  },
  rootsFirstMs: 10 * 60_000,
  quotaBytes: undefined,
  quotaSoft: 0.85,
  enforcesClosures: true,
  uploadExpiryMs: 24 * 3600_000,
  orphanRetentionMs: 24 * 3600_000,
  maxPartBytes: 5 * GIB,
  maxNarBytes: 256 * GIB,
  maxLogBytes: 64 * MIB,
  maxListingBytes: 64 * MIB,
  maxRealisationBytes: 64 * 1024,
  maxDebugInfoBytes: 64 * 1024,
  maxOpenUploads: 10_000,
  maxAwakeUploads: 500,
  minAwakeMs: 2_000,
  diskReserveBytes: 256 * MIB,
  housekeepingMs: 60_000,
  useFlushMs: 5_000,
  storageRetryMs: 5_000,
  fullRetryMs: 60_000,
  transientRetryMs: 120_000,
  databaseConnections: 10,
  databaseTimeoutMs: 30_000,
  databaseWaitMs: 30_000,
  moveGraceMs: 15 * 60_000,
  moveBytesPerSecond: undefined,
  drainUploadMs: 3600_000,
  scrubEveryMs: undefined,
  scrubBytesPerSecond: 32 * MIB,
  objectsGid: undefined,
  narinfoCacheBytes: 64 * MIB,
};
