/** What SQLite's errors mean to a person, where they are about the file and not about a statement. */
import { DatabaseError, type DatabaseErrorCode } from './errors.ts';

/** What to do about a database that is lost. */
export const BACKUP = 'bring it back from a backup, then run narwhal-server check --repair';
const ACCESS = 'this user must own it and its folder, and be able to read and write both';

/** Of rescode.html. */
const MEANING: Readonly<Record<string, readonly [code: DatabaseErrorCode, text: string, remedy: string]>> = {
  SQLITE_NOTADB: ['Damaged', 'is damaged: it is no SQLite database', BACKUP],
  SQLITE_CORRUPT: ['Damaged', 'is damaged: its content contradicts itself', BACKUP],
  SQLITE_CANTOPEN: ['NotAllowed', 'cannot be opened', ACCESS],
  SQLITE_PERM: ['NotAllowed', 'may not be used', ACCESS],
  SQLITE_READONLY: ['NotAllowed', 'cannot be written', ACCESS],
};

/** The same while a file is opened, when nothing waits for what may pass. */
export function openingError(file: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : '';
  if (code !== 'SQLITE_IOERR') return sqliteError(file, error);
  return new DatabaseError('Unreachable', `${file} cannot be read or written; look at its disk`, { cause: error });
}

/** The error for whatever a call ended with; what is about a statement, or may pass, stays as it is. */
export function sqliteError(file: string, error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const meaning = MEANING[code];
  if (meaning === undefined) return error;
  const [ours, text, remedy] = meaning;
  return new DatabaseError(ours, `${file} ${text}; ${remedy}`, { cause: error });
}
