/**
 * What is wrong with an uploaded file:
 * - `corrupt`: it does not decode, or does not decode to a NAR;
 * - `too-large`: it decodes to more than was claimed or is allowed;
 * - `unsupported`: nothing here can decode it.
 */
export type VerifyErrorCode = 'corrupt' | 'too-large' | 'unsupported';

/** The file is at fault. The message is one line of plain ASCII for whoever sent it. */
export class VerifyError extends Error {
  readonly code: VerifyErrorCode;

  constructor(code: VerifyErrorCode, message: string) {
    super(message);
    this.name = 'VerifyError';
    this.code = code;
  }
}

/**
 * Verification itself did not get done: the file may be fine.
 * - `internal`: a worker died or the file could not be read; the same request may be tried again;
 * - `no-memory`: a decoder got none; it may be there in a moment;
 * - `put-off`: its decoder made room for files that are complete; to begin again once this one is;
 * - `cancelled`: by `cancel()` or `stop()`.
 */
export type VerifierFailureCode = 'internal' | 'no-memory' | 'put-off' | 'cancelled';

export class VerifierFailure extends Error {
  readonly code: VerifierFailureCode;

  constructor(code: VerifierFailureCode, message: string) {
    super(message);
    this.name = 'VerifierFailure';
    this.code = code;
  }
}
