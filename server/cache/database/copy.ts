/**
 * Moves what a cache knows from its SQLite file into a schema of PostgreSQL. The schema is marked from the first row to
 * the last comparison, so that no server starts on half of it; a copy that was killed goes on when it is run again.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import type { Logger } from 'pino';
import type { Documents, BinaryCache as Manifest } from '../../../crds/index.ts';
import {
  COPIED_TABLES,
  columnsOf,
  copyTables,
  countRows,
  type Database,
  lockFolder,
  openPostgres,
  SqliteDatabase,
  type Statement,
  sumUp,
} from '../../metadata/index.ts';
import { CacheError } from '../errors.ts';
import { naming } from '../naming.ts';
import { CACHE_ID, COPYING, claimSchema, readMeta, USES_SINCE } from './meta.ts';
import { mayBegin } from './open.ts';
import { resolveTarget } from './target.ts';

export interface CopyDatabaseInit {
  /** Names the PostgreSQL database. */
  readonly manifest: Manifest;
  readonly documents: Documents;
  /** The data folder; `<data>/<cache>/db.sqlite` is copied. */
  readonly data: string;
  readonly version: string;
  readonly logger: Logger;
  readonly waitMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (what: 'copied' | 'compared', done: number, total: number) => void;
}

export interface CopyReport {
  readonly rows: number;
  /** Where they are now. */
  readonly database: string;
}

/** @throws CacheError, DatabaseError, FolderLockedError (its server runs) */
export async function copyDatabase(init: CopyDatabaseInit): Promise<CopyReport> {
  return naming(init.manifest.metadata.name, () => copyOne(init));
}

async function copyOne(init: CopyDatabaseInit): Promise<CopyReport> {
  const { manifest, documents, data, version, logger } = init;
  const { name } = manifest.metadata;
  const plan = resolveTarget(manifest, documents);
  if (plan.kind !== 'postgres') throw new CacheError('Invalid', `its manifest has no database.postgres to copy to`);
  const folder = path.join(data, name);
  const file = path.join(folder, 'db.sqlite');
  if ((await stat(file).catch(() => undefined)) === undefined)
    throw new CacheError('NotFound', `${file} is not there; --data names the folder that holds ${name}/db.sqlite`);
  const lock = await lockFolder(folder);
  try {
    const from = await SqliteDatabase.open({ file, version, mayBegin: await mayBegin(folder, file) });
    try {
      const { target, schema } = plan;
      const to = await openPostgres({ target, schema, version, logger, waitMs: init.waitMs });
      try {
        await claimSchema(to, name, schema);
        const rows = await copy(from, to, schema, init);
        return { rows, database: `schema ${schema} of ${target.describe()}` };
      } finally {
        await to.close();
      }
    } finally {
      await from.close();
    }
  } finally {
    await lock.release();
  }
}

async function copy(from: Database, to: Database, schema: string, init: CopyDatabaseInit): Promise<number> {
  const id = await readMeta(from, CACHE_ID);
  if (id === undefined) throw new CacheError('Invalid', 'the SQLite file holds no cache: no server has used it yet');
  await begin(to, id, schema);
  const total = await countRows(from);
  const { signal } = init;
  const counter = (what: 'copied' | 'compared', of: number) => {
    let done = 0;
    return (count: number) => {
      done += count;
      init.onProgress(what, done, of);
    };
  };
  await copyMeta(from, to);
  await copyTables({ from, to, signal, onRows: counter('copied', total) });
  const onRows = counter('compared', 2 * total);
  for (const table of COPIED_TABLES) {
    const columns = await columnsOf(from, table.name);
    const [ours, theirs] = [
      await sumUp(from, table, columns, { signal, onRows }),
      await sumUp(to, table, columns, { signal, onRows }),
    ];
    if (ours.rows !== theirs.rows || ours.checksum !== theirs.checksum)
      throw new CacheError(
        'Conflict',
        `table ${table.name} differs: ${ours.rows} rows here, ${theirs.rows} there. The cache was used since the copy ` +
          `began, or the schema was changed: DROP SCHEMA "${schema}" CASCADE there, and copy again`,
      );
    await to.query(`ANALYZE ${table.name}`);
  }
  await to.script([
    ['DELETE FROM meta WHERE key = ?', COPYING],
    ['INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING', COPIED, String(Date.now())],
  ]);
  return total;
}

/** When a copy was complete. */
const COPIED = 'copied_at';

/** Marks the schema as being filled. @throws CacheError Conflict where it holds something else, or all of it already */
async function begin(to: Database, id: string, schema: string): Promise<void> {
  await to.write(async (sql) => {
    const insert = 'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING RETURNING key';
    const isNew = (await sql.query(insert, [CACHE_ID, id])).length > 0;
    // In one transaction with the id: a server that starts now sees both or none.
    if (isNew) await sql.query(insert, [COPYING, id]);
    const rows = await sql.query<{ key: string; value: string }>('SELECT key, value FROM meta');
    const meta = new Map(rows.map((row) => [row.key, row.value]));
    if (meta.get(CACHE_ID) !== id)
      throw new CacheError(
        'Conflict',
        `the schema ${schema} belongs to another cache (a server may have started on it before the copy): choose ` +
          `another database.postgres.schema, or DROP SCHEMA "${schema}" CASCADE there if nothing in it is needed`,
      );
    if (!meta.has(COPYING))
      throw new CacheError('Conflict', `the schema ${schema} holds this cache already; nothing was copied`);
  });
}

/** The cache's id is there already; the rest are facts about its keys, and since when its uses are known. */
async function copyMeta(from: Database, to: Database): Promise<void> {
  const rows = await from.query<{ key: string; value: string }>('SELECT key, value FROM meta');
  await to.script([
    // The new schema has the time of its own making.
    ['DELETE FROM meta WHERE key = ?', USES_SINCE],
    ...rows.map(
      ({ key, value }): Statement => [
        'INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING',
        key,
        value,
      ],
    ),
  ]);
}
