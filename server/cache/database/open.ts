/** Opens the database that a cache's manifest asks for, with whatever must be held while it is open. */
import { mkdir, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import {
  BACKUP,
  type Database,
  DatabaseError,
  lockFolder,
  openPostgres,
  SqliteDatabase,
} from '../../metadata/index.ts';
import { CacheError } from '../errors.ts';
import type { CacheMetrics } from '../metrics.ts';
import type { Settings } from '../settings.ts';
import { cacheId, claimSchema, mustBeCopied } from './meta.ts';
import type { DatabaseTarget } from './target.ts';

export interface OpenDatabaseInit {
  /** Of the cache. */
  readonly name: string;
  readonly target: DatabaseTarget;
  readonly settings: Settings;
  /** `<data>/<cache>`; of no use with PostgreSQL. */
  readonly folder: string;
  readonly version: string;
  readonly logger: Logger;
  readonly metrics: Pick<CacheMetrics, 'committed'>;
}

export interface OpenDatabase {
  readonly database: Database;
  /** Whether a changed manifest still means this database. @throws CacheError Conflict where it does not */
  check(target: DatabaseTarget): void;
  /** Takes over what may change while it runs: a password. */
  use(target: DatabaseTarget): void;
  close(): Promise<void>;
}

/** @throws FolderLockedError, DatabaseError, NewerDatabaseError, CacheError Conflict */
export function openDatabase(init: OpenDatabaseInit): Promise<OpenDatabase> {
  const { target } = init;
  return target.kind === 'sqlite' ? openFile(init) : openSchema(init, target);
}

async function openFile({ folder, name, version, metrics }: OpenDatabaseInit): Promise<OpenDatabase> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = await lockFolder(folder);
  try {
    const file = path.join(folder, 'db.sqlite');
    const database = await SqliteDatabase.open({
      file,
      mayBegin: await mayBegin(folder, file),
      version,
      onCommit: (ms, writes) => metrics.committed(name, ms, writes),
    });
    return {
      database,
      check(changed) {
        if (changed.kind !== 'sqlite') throw otherDatabase();
      },
      use() {},
      async close() {
        await database.close();
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** What lies in a cache's folder only once its database has content. */
const LATER = ['root.key', 'signing', 'tokens', 'storages'];

/**
 * Whether the database may begin with nothing. SQLite takes an empty file for a new one, and throws away the log of a
 * file that is gone: a cache that has lived would begin anew without a word. Where the file is missing altogether a
 * person may want just that, with keys out of a backup. @throws DatabaseError Damaged
 */
export async function mayBegin(folder: string, file: string): Promise<boolean> {
  const sizeOf = async (name: string) => (await stat(name).catch(() => undefined))?.size;
  const size = await sizeOf(file);
  if (!size && ((await sizeOf(`${file}-wal`)) ?? 0) > 0)
    throw new DatabaseError('Damaged', `${file} is ${size === 0 ? 'empty' : 'gone'}, and its log is there; ${BACKUP}`);
  return size === undefined || !(await readdir(folder)).some((name) => LATER.includes(name));
}

async function openSchema(
  { name, settings, version, logger, metrics }: OpenDatabaseInit,
  { target, schema }: Extract<DatabaseTarget, { kind: 'postgres' }>,
): Promise<OpenDatabase> {
  const database = await openPostgres({
    target,
    schema,
    version,
    logger: logger.child({ cache: name }),
    maxConnections: settings.databaseConnections,
    timeoutMs: settings.databaseTimeoutMs,
    waitMs: settings.databaseWaitMs,
    writePatienceMs: settings.transientRetryMs,
    onCommit: (ms, writes) => metrics.committed(name, ms, writes),
  });
  try {
    await claimSchema(database, name, schema);
    // Its id first: a copy that begins now is seen by its mark, or finds that the schema is taken.
    await cacheId(database);
    await mustBeCopied(database);
  } catch (error) {
    await database.close();
    throw error;
  }
  return {
    database,
    check(changed) {
      if (changed.kind !== 'postgres' || changed.schema !== schema || !changed.target.isSameAs(target))
        throw otherDatabase();
    },
    use(changed) {
      if (changed.kind === 'postgres') database.useTarget(changed.target);
    },
    close: () => database.close(),
  };
}

function otherDatabase(): CacheError {
  return new CacheError(
    'Conflict',
    'the manifest names another database than the one in use, of which only the password may change; restart the server',
  );
}
