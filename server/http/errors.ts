/** From an error to an answer: the one place that knows statuses. 4xx bodies say what to do, 5xx bodies say nothing. */
import { CacheError, type CacheErrorCode, VerifierFailure, VerifyError } from '../cache/index.ts';
import { DatabaseError, DatabaseUnavailableError, FolderLockedError } from '../metadata/index.ts';
import { FormatError } from '../nix/index.ts';
import { errnoOf, isScarce, ObjectMissingError, StorageFullError, StorageUnavailableError } from '../storage/index.ts';
import type { Answer } from '../wire/index.ts';

/**
 * A full disk is 413, not 507: nix before 2.33.2 hangs on a 5xx to a PUT, and cachix repeats one for minutes.
 * The `satisfies` makes a new code a compile error until it has a status.
 */
const STATUS = {
  NotFound: 404,
  Invalid: 400,
  Conflict: 409,
  Unauthorized: 401,
  Forbidden: 403,
  TooLarge: 413,
  NoSpace: 413,
  Unavailable: 503,
  WrongMethod: 405,
  Unsupported: 415,
  Incomplete: 400,
  TimedOut: 408,
} as const satisfies Record<CacheErrorCode, number>;

const RETRY_SECONDS = 10;

/** A full disk below the database: SQLite's word for it, and PostgreSQL's (disk_full). */
const FULL: ReadonlySet<string> = new Set(['SQLITE_FULL', '53100']);

/** The answer to an error; undefined for one that nobody expected, which is a 500 and a log line. */
export function answerOf(error: unknown): Answer | undefined {
  if (error instanceof CacheError) {
    const status = STATUS[error.code];
    return status >= 500
      ? { status, text: 'temporarily unavailable', retryAfterSeconds: RETRY_SECONDS }
      : { status, text: error.message };
  }
  if (error instanceof FormatError) return { status: 400, text: error.message };
  if (error instanceof VerifyError) return { status: VERIFY_STATUS[error.code], text: error.message };
  if (error instanceof StorageFullError || FULL.has(errnoOf(error) ?? ''))
    return { status: 413, text: 'the disk of this cache is full' };
  if (
    error instanceof StorageUnavailableError ||
    error instanceof ObjectMissingError ||
    error instanceof VerifierFailure ||
    error instanceof FolderLockedError ||
    error instanceof DatabaseUnavailableError ||
    // Of a file that was damaged while the server ran: a person must look at it, and the log says so.
    error instanceof DatabaseError ||
    isScarce(error)
  ) {
    return { status: 503, text: 'temporarily unavailable', retryAfterSeconds: RETRY_SECONDS };
  }
  return undefined;
}

const VERIFY_STATUS = { corrupt: 400, 'too-large': 413, unsupported: 415 } as const satisfies Record<
  VerifyError['code'],
  number
>;
