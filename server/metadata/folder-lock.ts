/**
 * One process for each data folder. The lock is an SQLite write lock on an empty file of its own: the operating system
 * drops it when the process dies, however it dies, so there is no stale lock to remove by hand.
 */
import path from 'node:path';
import sqlite3 from 'sqlite3';

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

/** Takes the lock or fails at once. @throws FolderLockedError */
export async function lockFolder(folder: string): Promise<FolderLock> {
  const db = await new Promise<sqlite3.Database>((resolve, reject) => {
    const opened = new sqlite3.Database(path.join(folder, 'lock'), (error) =>
      error ? reject(error) : resolve(opened),
    );
  });
  const close = () => new Promise<void>((resolve, reject) => db.close((error) => (error ? reject(error) : resolve())));
  try {
    await new Promise<void>((resolve, reject) =>
      db.exec('BEGIN EXCLUSIVE', (error) => (error ? reject(error) : resolve())),
    );
  } catch (error) {
    await close();
    const busy = error instanceof Error && 'code' in error && error.code === 'SQLITE_BUSY';
    throw busy ? new FolderLockedError(folder) : error;
  }
  return { release: close };
}
