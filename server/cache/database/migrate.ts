/** Brings the database of one cache up to date, without opening the cache. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Documents, BinaryCache as Manifest } from '../../../crds/index.ts';
import { lockFolder, migratePostgresSchema, SqliteDatabase } from '../../metadata/index.ts';
import { naming } from '../naming.ts';
import { mayBegin } from './open.ts';
import { resolveTarget } from './target.ts';

export interface MigrateInit {
  readonly manifest: Manifest;
  readonly documents: Documents;
  /** The data folder; each cache has a folder in it. */
  readonly data: string;
  readonly version: string;
  readonly logger: Logger;
  /** How long a PostgreSQL server is waited for that cannot be reached. */
  readonly waitMs: number;
}

export interface Migrated {
  /** For people: which database it was. */
  readonly database: string;
  /** Names of the migrations that were applied now. */
  readonly applied: readonly string[];
}

/** @throws FolderLockedError where a server runs on an SQLite file, DatabaseError, NewerDatabaseError */
export async function migrateDatabase(init: MigrateInit): Promise<Migrated> {
  return naming(init.manifest.metadata.name, () => migrateOne(init));
}

async function migrateOne(init: MigrateInit): Promise<Migrated> {
  const { manifest, documents, data, version, logger, waitMs } = init;
  const plan = resolveTarget(manifest, documents);
  if (plan.kind === 'postgres') {
    const { target, schema } = plan;
    const applied = await migratePostgresSchema({ target, schema, version, logger, waitMs });
    return { database: `schema ${schema} of ${target.describe()}`, applied };
  }
  const folder = path.join(data, manifest.metadata.name);
  const file = path.join(folder, 'db.sqlite');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = await lockFolder(folder);
  try {
    const database = await SqliteDatabase.open({ file, version, mayBegin: await mayBegin(folder, file) });
    const { applied } = database;
    await database.close();
    return { database: file, applied };
  } finally {
    await lock.release();
  }
}
