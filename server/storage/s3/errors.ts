/**
 * Errors of an S3 service, in words that say what to change. The codes are those that AWS documents ("Error responses")
 * and that MinIO, Garage, Ceph, R2 and versitygw share; what none of them names is "cannot be used" with its own text.
 */
import {
  errnoOf,
  ObjectMissingError,
  PartsError,
  StorageFullError,
  StorageUnavailableError,
  UploadGoneError,
} from '../errors.ts';
import type { S3Config } from './config.ts';

const FULL = new Set(['QuotaExceeded', 'XMinioStorageFull', 'EntityTooLarge', 'StorageFull', 'InsufficientCapacity']);
const PARTS: Readonly<Record<string, PartsError['code']>> = {
  EntityTooSmall: 'too-small',
  InvalidPart: 'invalid',
  InvalidPartOrder: 'invalid',
  BadDigest: 'digest',
  InvalidDigest: 'digest',
};

/** One of our errors for whatever a request ended with. */
export function s3Error(storage: string, config: S3Config, object: string, error: unknown): Error {
  const code = codeOf(error);
  const cause = { cause: error };
  const parts = PARTS[code];
  if (parts !== undefined) return new PartsError(parts, textOf(error), cause);
  if (code === 'NoSuchUpload') return new UploadGoneError(`${object}: no such multipart upload`, cause);
  // A range that begins beyond the end: the object is shorter than its row says.
  if (code === 'NoSuchKey' || code === 'NotFound' || code === 'InvalidRange')
    return new ObjectMissingError(storage, object);
  if (FULL.has(code) || statusOf(error) === 507) return new StorageFullError(storage, cause);
  return new StorageUnavailableError(storage, diagnose(config, error), cause);
}

/** One line for a person: what is wrong, and where to mend it. */
export function diagnose(config: S3Config, error: unknown): string {
  const code = codeOf(error);
  const where = config.endpoint ?? `AWS in ${config.region}`;
  switch (code) {
    case 'NoSuchBucket':
      return `there is no bucket ${config.bucket} at ${where}`;
    case 'InvalidAccessKeyId':
    case 'InvalidToken':
    case 'XAdminUserNotFound':
      return `${where} does not know the access key; check the Secret of credentialsSecretRef`;
    case 'SignatureDoesNotMatch':
      return `${where} says that the secret access key is wrong; check the Secret of credentialsSecretRef (a proxy that changes the Host header looks the same)`;
    case 'ExpiredToken':
      return 'the credentials have expired';
    case 'AccessDenied':
    case 'Forbidden':
    case 'AllAccessDisabled':
      return `${where} denies access to bucket ${config.bucket}; check the bucket's policy and the credentials`;
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
    case 'InvalidRegion':
      return wrongRegion(config, error);
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
      return `the clock of this machine and that of ${where} differ by more than 15 minutes; set the clock`;
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return `${where} does not speak TLS; write http:// in the endpoint, or turn TLS on there`;
    case 'CredentialsProviderError':
      return 'no credentials: set credentialsSecretRef, or give this machine a role';
    case 'SlowDown':
    case 'ServiceUnavailable':
    case 'InternalError':
      return `${where} answers ${code}`;
  }
  if (/HTTP request to an HTTPS server/i.test(textOf(error)))
    return `${where} speaks TLS; write https:// in the endpoint`;
  if (isUnreachable(error)) return `${where} cannot be reached: ${code || textOf(error)}`;
  if (/certificate|self-signed/i.test(textOf(error))) return `the certificate of ${where} is not trusted: ${code}`;
  const status = statusOf(error);
  return `${where} answers ${[status, code || undefined].filter((it) => it !== undefined).join(' ') || textOf(error)}`;
}

/** Whether the service had no part in it: no connection, no answer in time. */
function isUnreachable(error: unknown): boolean {
  const code = codeOf(error);
  return /^E[A-Z]+$/.test(code) || code === 'TimeoutError' || code === 'AbortError';
}

function wrongRegion(config: S3Config, error: unknown): string {
  const right = field(error, 'Region') ?? /expecting '([^']+)'/.exec(textOf(error))?.[1];
  return `the bucket ${config.bucket} is in ${right === undefined ? 'another region' : `region ${right}`}, the manifest says ${config.region}`;
}

/** The S3 code, or that of the system. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const errno = errnoOf(error) ?? (error.cause instanceof Error ? errnoOf(error.cause) : undefined);
  if (errno !== undefined) return errno;
  const name = field(error, 'Code') ?? error.name;
  return name === 'Error' || name === 'UnknownError' ? '' : name;
}

function textOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? '';
}

function statusOf(error: unknown): number | undefined {
  const metadata: unknown = error instanceof Error ? Reflect.get(error, '$metadata') : undefined;
  const status: unknown =
    typeof metadata === 'object' && metadata !== null ? Reflect.get(metadata, 'httpStatusCode') : undefined;
  return typeof status === 'number' ? status : undefined;
}

function field(error: unknown, name: string): string | undefined {
  const value: unknown = error instanceof Error ? Reflect.get(error, name) : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}
