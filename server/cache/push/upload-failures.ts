/** Why an upload has failed, as its row keeps it for all servers. */
import { PartsError, UploadGoneError } from '../../storage/index.ts';
import { CacheError, isErrorCode } from '../errors.ts';
import { VerifyError } from '../verify/index.ts';
import { textOfPartsError } from './part-claims.ts';
import { uploadOver } from './upload-errors.ts';
import type { UploadRow } from './upload-rows.ts';

/** What the server that completed the upload found. */
export function failureOf(row: UploadRow): CacheError {
  if (row.failure === null) return uploadOver();
  const failure: unknown = JSON.parse(row.failure);
  const { code, message } = typeof failure === 'object' && failure !== null ? (failure as Record<string, unknown>) : {};
  return isErrorCode(code) && typeof message === 'string' ? new CacheError(code, message) : uploadOver();
}

const VERDICTS = { corrupt: 'Invalid', 'too-large': 'TooLarge', unsupported: 'Unsupported' } as const;

/** What storage and verifier say of the bytes, in the form that another server can repeat. */
export function refusal(error: unknown): unknown {
  const cause = { cause: error };
  if (error instanceof UploadGoneError) return uploadOver();
  if (error instanceof PartsError) return new CacheError('Invalid', textOfPartsError(error), cause);
  return error instanceof VerifyError ? new CacheError(VERDICTS[error.code], error.message, cause) : error;
}
