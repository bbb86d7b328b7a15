/**
 * A storage is a place for immutable bytes under opaque names. It knows nothing of store paths: which object is
 * where, and whether it may be served, is the database's business.
 */
import type { Readable } from 'node:stream';

/** First and last byte, both inclusive, as in an HTTP `Content-Range`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** What a storage can say of itself without touching the database. Sizes in bytes. */
export interface StorageUsage {
  /** Bytes that may still be written, the reserve left out; undefined where the medium has no limit of its own. */
  readonly freeBytes: number | undefined;
}

/** `Unavailable` storages are touched by nothing; the reason is shown to people. */
export type StorageHealth = { readonly state: 'Ready' } | { readonly state: 'Unavailable'; readonly reason: string };

/** Bytes on their way in: invisible, removed at the next start unless an upload row knows them. */
export interface Staged {
  /** A local file that a verifier may read while it grows. */
  readonly file: string;
  /**
   * Writes `body` from `offset` on; resolves with the number of bytes written.
   * `onWritten` hears the end offset of each piece that has reached the file.
   * @throws StorageFullError when the medium is full
   */
  write(body: AsyncIterable<Uint8Array>, options?: WriteOptions): Promise<number>;
  /**
   * Makes the bytes durable under `name`; afterwards the staged file is gone. With `size`, what lies beyond it is cut
   * off first. @throws StorageFullError
   */
  commit(name: string, size?: number): Promise<void>;
  /** Lets go of the file, whose bytes stay; what comes next opens it again. */
  close(): Promise<void>;
  /** Removes the bytes; never throws for what is gone already. */
  discard(): Promise<void>;
}

export interface WriteOptions {
  readonly offset?: number;
  readonly onWritten?: (end: number) => void;
}

export interface StoredEntry {
  readonly name: string;
  readonly size: number;
}

/** Six verbs, so that a storage of another kind is a file of its own and nothing else changes. */
export interface Storage {
  readonly name: string;
  health(): StorageHealth;
  /** A new, never used name for an object. */
  newName(): string;
  /** The staging place called `id` (letters, digits, dashes and dots), created at the first write. */
  stage(id: string): Staged;
  /**
   * Reads an object; small ones arrive whole as a Buffer, since a stream would cost more than the bytes.
   * @throws ObjectMissingError, StorageUnavailableError
   */
  get(name: string, range: ByteRange): Promise<Buffer | Readable>;
  /** Size in bytes, or undefined when there is no such object. */
  stat(name: string): Promise<number | undefined>;
  /** Removes an object; one that is gone already is fine. */
  delete(name: string): Promise<void>;
  /** All objects, or those whose names sort at or after the folder `from`. */
  list(from?: string): AsyncIterable<StoredEntry>;
  /** Names of staging places, to find what no upload knows. */
  listStaged(): Promise<string[]>;
  usage(): Promise<StorageUsage>;
}
