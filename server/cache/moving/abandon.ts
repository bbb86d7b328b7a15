/**
 * Gives up what a storage holds: its paths and rows go, its bytes are not touched. Asked for by `mode: Abandoned` and by
 * nothing else. Page by page, so that a crash in between loses nothing but time.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { STORE_DIR } from '../../nix/index.ts';
import { closingStatements } from '../closures/index.ts';
import type { Objects } from '../objects/index.ts';
import type { Paths } from '../paths/index.ts';
import type { Storages } from '../storages/index.ts';

export interface AbandonInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly paths: Paths;
  readonly logger: Logger;
}

interface GivenUp {
  readonly id: number;
  readonly key: string | null;
  readonly size: number;
}

const PAGE = 500;

/** Removes all rows of a storage, as long as its mode is Abandoned. */
export async function abandon(init: AbandonInit, storage: string, signal: AbortSignal): Promise<void> {
  const { database, storages, logger } = init;
  await database.script([
    // Should it come back under its name, all its files are compared with the rows.
    [`UPDATE storages SET settled = '' WHERE name = ?`, storage],
    [`DELETE FROM upload_parts WHERE upload IN (SELECT id FROM uploads WHERE storage = ? AND state = 'open')`, storage],
    [`UPDATE uploads SET state = 'aborted' WHERE storage = ? AND state = 'open'`, storage],
    ['DELETE FROM intents WHERE storage = ?', storage],
  ]);
  let [objects, paths] = [0, 0];
  while (!signal.aborted && storages.modeOf(storage) === 'Abandoned') {
    const page = await abandonPage(init, storage);
    objects += page.objects;
    paths += page.paths;
    if (page.objects > 0) continue;
    if (objects > 0)
      logger.warn({ storage, objects, paths }, 'storage is given up; it can be removed from the manifest');
    return;
  }
}

async function abandonPage(init: AbandonInit, storage: string): Promise<{ objects: number; paths: number }> {
  const { database, storages, logger } = init;
  const { objects, paths } = await database.write(async (sql) => {
    const rows = await sql.query<GivenUp>(`SELECT id, key, size FROM objects WHERE storage = ? LIMIT ${PAGE}`, [
      storage,
    ]);
    const ids = database.list(rows.map((row) => row.id));
    const gone = await sql.query<{ hash_part: string; name: string }>(
      `DELETE FROM paths WHERE ${database.isOneOf('object_id')} RETURNING hash_part, name`,
      [ids],
    );
    await sql.query(`DELETE FROM objects WHERE ${database.isOneOf('id')}`, [ids]);
    const hashParts = gone.map((path) => path.hash_part);
    await sql.run([...closingStatements(hashParts), ...database.announce(hashParts)]);
    return { objects: rows, paths: gone };
  });
  init.paths.remove(paths.map((path) => path.hash_part));
  for (const { key, size } of objects) {
    if (key !== null) init.objects.forget(key);
    storages.count(storage, -size);
  }
  for (const path of paths)
    logger.warn({ storage, storePath: `${STORE_DIR}/${path.hash_part}-${path.name}` }, 'given up');
  return { objects: objects.length, paths: paths.length };
}
