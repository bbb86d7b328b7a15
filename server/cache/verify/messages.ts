import type { Compression } from '../../nix/index.ts';
import type { VerifierFailureCode, VerifyErrorCode } from './errors.ts';
import type { Facts } from './facts.ts';

export interface VerifyRequest {
  /** Path of the file; it may still grow. Undefined: the bytes are sent, piece by piece. */
  readonly file?: string | undefined;
  /** Undefined: told from the first bytes, with the help of `suffix`. */
  readonly compression?: Compression | undefined;
  /** What stands behind `.nar` in the file's public name, such as `.xz`. */
  readonly suffix?: string | undefined;
  /** Bytes of NAR beyond which the file is refused. */
  readonly maxNarSize: number;
  /** True when nothing bounds the NAR until `finish`: output then stays within 64 x input + 64 MiB. */
  readonly aheadOfClaim?: boolean | undefined;
  /**
   * Whether bytes that are sent will be sent once more after the failure `put-off`, when all of them are there. A file is
   * always begun again.
   */
  readonly isRepeatable?: boolean | undefined;
}

/** What is known when the file is complete. */
export interface Claim {
  /** Bytes of the file. */
  readonly fileSize: number;
  /** Bytes of the NAR as claimed: decoding stops one byte behind. */
  readonly narSize?: number | undefined;
}

/** What a thread is started with. */
export interface WorkerData {
  /** Memory for all decoders of the thread. Default: 192 MiB. */
  readonly decoderBytes?: number | undefined;
}

/** Main thread to worker. */
export type Command =
  | {
      readonly type: 'start';
      readonly id: number;
      readonly request: VerifyRequest;
      readonly availableBytes: number;
      readonly claim: Claim | undefined;
    }
  | { readonly type: 'grow'; readonly id: number; readonly availableBytes: number }
  | { readonly type: 'piece'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: 'finish'; readonly id: number; readonly claim: Claim }
  | { readonly type: 'cancel'; readonly id: number }
  /** MD5 of a stretch of a file. */
  | { readonly type: 'md5'; readonly id: number; readonly file: string; readonly start: number; readonly size: number };

/** Worker to main thread: so many bytes of the pieces sent were taken in. */
export interface Taken {
  readonly type: 'taken';
  readonly id: number;
  readonly bytes: number;
}

/** Worker to main thread: the end of a job. A cancelled one is answered too, once its file is closed. */
export type Outcome =
  | { readonly type: 'md5'; readonly id: number; readonly hex: string }
  | { readonly type: 'facts'; readonly id: number; readonly facts: Facts }
  | { readonly type: 'error'; readonly id: number; readonly code: VerifyErrorCode; readonly message: string }
  | { readonly type: 'failure'; readonly id: number; readonly code: VerifierFailureCode; readonly message: string };
