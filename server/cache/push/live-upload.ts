/** What is in memory of an upload, and how it ends. */
import { errnoOf, type LocalStorage, SyncFailedError } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { isFull } from '../storages/index.ts';
import { type Verification, VerifyError } from '../verify/index.ts';
import type { UploadFile } from './upload-file.ts';
import type { UploadRow } from './upload-rows.ts';

/** An upload that this process has in hand. */
export interface LiveUpload {
  readonly row: UploadRow;
  readonly storage: LocalStorage;
  readonly file: UploadFile;
  verification: Verification | undefined;
  completing: { readonly hashPart: string; readonly outcome: Promise<void> } | undefined;
  /** Requests that work with it: while there are any it stays in memory. */
  users: number;
  /** When a request last asked for it. */
  usedAt: number;
  /** Whether its row is in the database. */
  isStored: boolean;
  /** Its storage is full: once nobody works with it any more, it goes, to make room. */
  doomed: boolean;
  /** Its bytes have left the staging folder: it is published now, or never. */
  committed: boolean;
}

/** For a `catch`: undefined for a file that is not there. */
export function isMissing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
}

/** Whether the same completion would fail again. */
export function isFinal(error: unknown): boolean {
  if (error instanceof CacheError) return error.code !== 'Unavailable';
  return error instanceof VerifyError || error instanceof SyncFailedError || isFull(error);
}
