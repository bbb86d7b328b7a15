/**
 * Transient failures behind a write are waited for inside the server: nix before 2.33.2 cannot repeat a PUT, so a 503
 * would end its push. Only what may pass by itself is repeated; a full disk or wrong bytes are not.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StorageUnavailableError, SyncFailedError } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { VerifierFailure } from '../verify/index.ts';

const TRANSIENT = new Set(['EMFILE', 'ENFILE', 'EAGAIN', 'EINTR', 'EBUSY', 'SQLITE_BUSY', 'SQLITE_IOERR']);

function isTransient(error: unknown): boolean {
  if (error instanceof SyncFailedError) return false;
  if (error instanceof StorageUnavailableError) return true;
  if (error instanceof VerifierFailure) return error.code === 'no-memory';
  if (error instanceof CacheError) return error.code === 'Unavailable';
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && TRANSIENT.has(error.code);
}

/** Repeats `work` with growing pauses until it succeeds, fails for good, or `patienceMs` are over. */
export async function withRetries<T>(work: () => Promise<T>, patienceMs: number): Promise<T> {
  const deadline = Date.now() + patienceMs;
  for (let pauseMs = 50; ; pauseMs = Math.min(2 * pauseMs, 5000)) {
    try {
      return await work();
    } catch (error) {
      if (!isTransient(error) || Date.now() + pauseMs > deadline) throw error;
      await delay(pauseMs * (0.5 + Math.random()));
    }
  }
}
