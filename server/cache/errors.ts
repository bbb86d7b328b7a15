/**
 * Everything that can go wrong for a reason that a client should hear. The message is one line of plain text that says
 * what to do; which status it becomes is decided in one place, server/http/errors.ts.
 */
const CACHE_ERROR_CODES = [
  /** Nothing of that name is here. */
  'NotFound',
  /** The request or its bytes are wrong; the same again will fail again. */
  'Invalid',
  /** It contradicts what is published. */
  'Conflict',
  /** No credential, a wrong one, or one without the right. */
  'Unauthorized',
  /** Somebody in charge of the cache does not want it here. */
  'Forbidden',
  /** Larger than a limit. */
  'TooLarge',
  /** No writable storage has room. */
  'NoSpace',
  /** Bytes are in a storage that cannot be reached now. */
  'Unavailable',
  /** A method that this address does not take. */
  'WrongMethod',
  /** A field or encoding that this server does not do. */
  'Unsupported',
  /** The client went away or sent fewer bytes than it announced. */
  'Incomplete',
  /** The body stopped coming. */
  'TimedOut',
] as const;

export type CacheErrorCode = (typeof CACHE_ERROR_CODES)[number];

export function isErrorCode(value: unknown): value is CacheErrorCode {
  return CACHE_ERROR_CODES.some((code) => code === value);
}

export class CacheError extends Error {
  override readonly name = 'CacheError';
  readonly code: CacheErrorCode;
  constructor(code: CacheErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
