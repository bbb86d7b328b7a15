/** The medium has no room for these bytes. Nothing that was published is harmed. */
export class StorageFullError extends Error {
  override readonly name = 'StorageFullError';
  readonly storage: string;
  constructor(storage: string, options?: ErrorOptions) {
    super(`storage ${storage} is full`, options);
    this.storage = storage;
  }
}

/** The storage cannot be used now (not mounted, foreign, or the medium fails). */
export class StorageUnavailableError extends Error {
  override readonly name: string = 'StorageUnavailableError';
  readonly storage: string;
  readonly reason: string;
  constructor(storage: string, reason: string, options?: ErrorOptions) {
    super(`storage ${storage} is unavailable: ${reason}`, options);
    this.storage = storage;
    this.reason = reason;
  }
}

/**
 * Bytes could not be synced. Another try says nothing: the system reports such a failure once and may have given up what it
 * could not write, so that the next fsync is fine and the bytes are gone. They must be written anew.
 */
export class SyncFailedError extends StorageUnavailableError {
  override readonly name = 'SyncFailedError';
}

/** A row names an object whose bytes are not there. */
export class ObjectMissingError extends Error {
  override readonly name = 'ObjectMissingError';
  constructor(storage: string, object: string) {
    super(`storage ${storage} has no object ${object}`);
  }
}

/** Parts do not make the object that the list says: wrong ETag, wrong order, wrong digest. */
export class PartsError extends Error {
  override readonly name = 'PartsError';
  /** `too-small`: a part before the last has less than 5 MiB, which S3 refuses. */
  readonly code: 'too-small' | 'invalid' | 'digest';
  constructor(code: PartsError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The service does not know this multipart upload: completed, aborted or expired. */
export class UploadGoneError extends Error {
  override readonly name = 'UploadGoneError';
}

/** errno codes that mean "no room": disk, quota, file size limit. */
const FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);
/** errno codes that mean "this medium fails", as against one missing file. */
const ILL = new Set(['EIO', 'ENODEV', 'ENXIO', 'EROFS', 'ESTALE', 'ETIMEDOUT', 'EACCES', 'EPERM', 'ENOTCONN']);

/** errno codes of what the whole process has too little of for a moment: no fault of a medium. */
const SCARCE = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);

/** Whether the process, and not a medium, is short of something. */
export function isScarce(error: unknown): boolean {
  return SCARCE.has(errnoOf(error) ?? '');
}

/** What is in the way below the folder of a storage, in words. */
const IN_THE_WAY: Readonly<Record<string, string>> = {
  EACCES: 'this user must own the folder and all that is in it',
  EPERM: 'this user must own the folder and all that is in it',
  EISDIR: 'a folder is where a file should be: move it away',
  ENOTDIR: 'a file is where a folder should be: move it away',
  EEXIST: 'a file is where a folder should be: move it away',
  EROFS: 'the disk is mounted read-only',
  ELOOP: 'links lead in a circle',
};

/** Why a folder cannot be used, as a line for a person. */
export function folderTrouble(folder: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const remedy = IN_THE_WAY[errnoOf(error) ?? ''];
  // Some messages of the system name no file.
  const place = text.includes(folder) ? '' : `${folder}: `;
  return `${place}${text}${remedy === undefined ? '' : `; ${remedy}`}`;
}

/** The `code` of a Node system error, if it is one. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Turns a system error into one of ours; others pass through. */
export function storageError(storage: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (code !== undefined && FULL.has(code)) return new StorageFullError(storage, { cause: error });
  if (code !== undefined && ILL.has(code)) return new StorageUnavailableError(storage, code, { cause: error });
  return error;
}
