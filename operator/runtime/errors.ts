/** Why a request to the API failed, and what that means for who asked. */

export interface Cause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** The API server's `Status`, as far as it is read. */
export interface Status {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly Cause[]; readonly retryAfterSeconds?: number };
}

interface ApiErrorInit {
  readonly causes?: readonly Cause[];
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * An answer that is an error, or no answer at all (`code` 0; `reason` is then `Network`, `Timeout`, `Idle` or
 * `Credentials`).
 */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: number;
  readonly reason: string;
  readonly causes: readonly Cause[];
  /** The server's wish, by Retry-After. */
  readonly retryAfterMs: number | undefined;

  constructor(code: number, reason: string, message: string, init: ApiErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = code;
    this.reason = reason;
    this.causes = init.causes ?? [];
    this.retryAfterMs = init.retryAfterMs;
  }

  /** The same request may well succeed later without anybody's doing. */
  get transient(): boolean {
    if (this.isSchemaMismatch) return false;
    // 401: tokens are renewed; what comes next carries the new one.
    return this.code === 0 || this.code === 401 || this.code === 408 || this.code === 429 || this.code >= 500;
  }

  /** Somebody else wrote first: read again and decide anew. */
  get conflict(): boolean {
    // Measured: an apply with the uid of an object that is gone is a 409, and a 422 if another has its name.
    const isOfAnother = this.code === 422 && this.causes.some(({ field }) => field === 'metadata.uid');
    return isOfAnother || (this.code === 409 && this.reason !== 'AlreadyExists');
  }

  /** The resource version, or the page of a list, is too old: list again. */
  get expired(): boolean {
    return this.code === 410;
  }

  /** The version that we know is newer than what the server has: it was restored from a backup. */
  get isFromTheFuture(): boolean {
    return this.causes.some(({ reason }) => reason === 'ResourceVersionTooLarge');
  }

  /** The served schema lacks a field that we apply: the CRD is older than we are. Measured: the server says 500. */
  get isSchemaMismatch(): boolean {
    return this.code >= 400 && this.message.includes('field not declared in schema');
  }

  /** Nothing can be created there any more. */
  get isNamespaceTerminating(): boolean {
    return this.code === 403 && this.causes.some(({ reason }) => reason === 'NamespaceTerminating');
  }

  /** Of a body of a failed answer; `what` is the request, for the message. */
  static of(what: string, code: number, body: unknown, retryAfter?: string | string[]): ApiError {
    const status = isStatus(body) ? body : {};
    const seconds = Number(retryAfter ?? status.details?.retryAfterSeconds);
    const message = status.message ?? (typeof body === 'string' ? body.trim().slice(0, 200) : '');
    return new ApiError(code, status.reason ?? `Http${code}`, `${what}: ${code} ${message}`.trim(), {
      causes: status.details?.causes ?? [],
      retryAfterMs: Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined,
    });
  }
}

/** Trying again is of no use until something changes: the next event or the next resync comes back to it. */
export class TerminalError extends Error {
  override readonly name = 'TerminalError';
}

/** A reconcile took longer than it may. */
export class ReconcileTimeout extends Error {
  override readonly name = 'ReconcileTimeout';
}

/** The work must stop: somebody else may lead now. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
}

export function isStatus(body: unknown): body is Status {
  return typeof body === 'object' && body !== null && 'kind' in body && body.kind === 'Status';
}

/** A word for logs, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
