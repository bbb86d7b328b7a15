/**
 * One process for each data folder. The lock is an SQLite write lock on an empty file of its own: the operating system
 * drops it when the process dies, however it dies, so there is no stale lock to remove by hand.
 */
import path from 'node:path';
import sqlite3 from 'sqlite3';
import { DatabaseError } from './errors.ts';
import { openingError } from './sqlite-errors.ts';

/** Another process has this folder. */
export class FolderLockedError extends Error {
  override readonly name = 'FolderLockedError';
  constructor(folder: string) {
    super(`${folder} is in use by another narwhal-server; stop it first, or give this one another --data folder`);
  }
}

export interface FolderLock {
  release(): Promise<void>;
}

/** Takes the lock or fails at once. @throws FolderLockedError, DatabaseError (the file cannot be used as a lock) */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const file = path.join(folder, 'lock');
  const db = await new Promise<sqlite3.Database>((resolve, reject) => {
    const opened = new sqlite3.Database(file, (error) => (error ? reject(lockError(file, error)) : resolve(opened)));
  });
  const close = () => new Promise<void>((resolve, reject) => db.close((error) => (error ? reject(error) : resolve())));
  try {
    await new Promise<void>((resolve, reject) =>
      db.exec('BEGIN EXCLUSIVE', (error) => (error ? reject(error) : resolve())),
    );
  } catch (error) {
    await close();
    const busy = error instanceof Error && 'code' in error && error.code === 'SQLITE_BUSY';
    throw busy ? new FolderLockedError(folder) : lockError(file, error);
  }
  return { release: close };
}

/** Nothing is in the file, so nothing is lost with it. */
function lockError(file: string, error: unknown): unknown {
  const known = openingError(file, error);
  if (!(known instanceof DatabaseError) || known.code !== 'Damaged') return known;
  return new DatabaseError('Damaged', `${file} is no lock of ours; remove it, once no server uses this folder`, {
    cause: error,
  });
}
