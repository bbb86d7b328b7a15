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
  /** Size of the medium; undefined where it has none of its own. */
  readonly totalBytes: number | undefined;
}

/** `Unavailable` storages are touched by nothing; the reason is shown to people. */
export type StorageHealth = { readonly state: 'Ready' } | { readonly state: 'Unavailable'; readonly reason: string };

/** Bytes on their way in: no row knows them, and what is left of them when nobody goes on is removed. */
export interface Staged {
  /** A local file that a verifier may read while it grows; undefined: the bytes go elsewhere. */
  readonly file: string | undefined;
  /**
   * Writes `body` from `offset` on; resolves with the number of bytes written. Without a `file` one call takes all.
   * `onWritten` hears the end offset of each piece that is where it belongs.
   * @throws StorageFullError when the medium is full, StorageUnavailableError
   */
  write(body: AsyncIterable<Uint8Array>, options?: WriteOptions): Promise<number>;
  /**
   * Makes the bytes durable as an object; its name, the same when it is called again. Afterwards nothing is staged any
   * more. With `size`, what lies beyond it is cut off first. @throws StorageFullError, StorageUnavailableError
   */
  commit(size?: number): Promise<string>;
  /**
   * The first half of `commit`, where the bytes are in a file: they have their name, and a loss of power may take them
   * until `sync` has ended.
   */
  place?(size?: number): Promise<string>;
  /** The second half, which may be called again where it failed. @throws StorageFullError, StorageUnavailableError */
  sync?(): Promise<void>;
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
  /** Milliseconds since 1970. */
  readonly modifiedAt: number;
}

/** One upload in parts at the service behind a storage. */
export interface RemoteUpload {
  /** The object that it will be. */
  readonly name: string;
  /** The service's own id; undefined: not begun there. */
  readonly id: string | undefined;
}

export interface RemotePart {
  readonly number: number;
  /** NaN: only the service knows. */
  readonly size: number;
  /** As the service gave it out, or the object of its own that the part lies in. */
  readonly at: { readonly etag: string } | { readonly name: string };
}

export interface ArrivingPart {
  readonly number: number;
  readonly size: number;
  /** Base64. */
  readonly md5: string;
}

/** Uploads in parts with which any server can go on: what is known of them is in rows and in the storage, not here. */
export interface RemoteUploads {
  /** Whether clients send parts to the service without us. */
  readonly isDirect: boolean;
  /** Whether a part in an object of its own is, where it is the only one, the object of the upload. */
  readonly keepsOnly: boolean;
  /** A name for the object of an upload, or of one attempt at a part. */
  newName(): string;
  /** Begins an upload at the service; the service's id of it. */
  begin(name: string): Promise<string>;
  /** A URL that takes this part until `expiresAt`, or as long as the credentials live. @param md5 base64 */
  partUrl(name: string, id: string, number: number, md5: string, expiresAt: number): Promise<string>;
  /** Whether the service joins parts of this size; smaller ones lie in objects of their own until the end. */
  joins(size: number): boolean;
  /** Passes a part on; its ETag. @throws PartsError (digest), UploadGoneError */
  putPart(name: string, id: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<string>;
  /** Puts a part that is too small to be joined under a name that nobody else writes to. @throws PartsError (digest) */
  putSide(name: string, part: ArrivingPart, body: AsyncIterable<Uint8Array>): Promise<void>;
  /**
   * Has the service join parts, of which the last may lie in an object of its own; fine where that was done before.
   * @throws PartsError, UploadGoneError
   */
  complete(upload: RemoteUpload, parts: readonly RemotePart[]): Promise<void>;
  /** All bytes of an object whose size nobody knows yet, or of a part. @throws ObjectMissingError */
  read(name: string): Promise<{ body: Readable; size: number }>;
  /** Names of uploads that were begun before `before` and neither completed nor aborted. */
  unfinished(before: number): AsyncIterable<string>;
  /** Removes whatever lies or may come to lie under a name; fine where there is nothing. */
  discard(name: string): Promise<void>;
}

/** Opening, health and eight verbs, so that a storage of another kind is a folder of its own and nothing else changes. */
export interface Storage {
  readonly name: string;
  readonly kind: 'local' | 's3';
  /** Where it is, in words; two with the same words hold the same bytes. */
  readonly place: string;
  health(): StorageHealth;
  /**
   * Looks whether the storage is there and ours, at start and again while it is ill. `known`: the database has it, so a
   * missing marker means "not mounted", not "new". `settle` runs before anything else may use it.
   */
  open(known: boolean, settle?: () => Promise<void>): Promise<StorageHealth>;
  /**
   * Looks at a storage in use: may it still be used? @param isSure whether its marker must be read now, and the look must
   * fail where that is not possible; else what was seen a moment ago will do
   */
  probe(isSure?: boolean): Promise<StorageHealth>;
  close(): Promise<void>;
  /**
   * The staging place called `id` (letters, digits, dashes and dots), created at the first write.
   * @param declaredBytes how much will come, where that is known
   */
  stage(id: string, declaredBytes?: number): Staged;
  /** Uploads in parts that do not pass through files here. */
  readonly remote: RemoteUploads | undefined;
  /**
   * Reads an object; small ones arrive whole as a Buffer, since a stream would cost more than the bytes.
   * @throws ObjectMissingError, StorageUnavailableError
   */
  get(name: string, range: ByteRange): Promise<Buffer | Readable>;
  /** Where a client may read an object by itself; undefined: through us. @throws StorageUnavailableError */
  readUrl(name: string): Promise<string | undefined>;
  /** Until when URLs of `readUrl` may be used, milliseconds since 1970; 0: it gave none out. */
  urlsEndAt(): number;
  /** Size in bytes, or undefined when there is no such object. */
  stat(name: string): Promise<number | undefined>;
  /** Removes an object; one that is gone already is fine. */
  delete(name: string): Promise<void>;
  /** All objects, or those whose names sort at or after the folder `from`. */
  list(from?: string): AsyncIterable<StoredEntry>;
  usage(): Promise<StorageUsage>;
}
