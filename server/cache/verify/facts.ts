import type { Compression } from '../../nix/index.ts';

/** What verification found out about a file that holds a NAR. Plain values: it crosses threads. */
export interface Facts {
  /** SHA-256 of the file as it is, 64 lower-case hex digits. */
  readonly fileHash: string;
  /** Bytes of the file. */
  readonly fileSize: number;
  readonly compression: Compression;
  /** SHA-256 of the decoded NAR, 64 lower-case hex digits. */
  readonly narHash: string;
  /** Bytes of the decoded NAR. */
  readonly narSize: number;
}
