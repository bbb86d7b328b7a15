/** NARs that no path points at: those that waited long enough for one go. */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { adopt, type Objects, tombstoneOrphan } from '../objects/index.ts';

export interface OrphansInit {
  readonly database: Database;
  readonly objects: Pick<Objects, 'forget'>;
  readonly logger: Logger;
}

const PAGE = 500;
/** NARs that have waited for a path since before `?`; its plan is tested. */
export const ORPHANS_QUERY = `SELECT id, key FROM objects
  WHERE orphan_since IS NOT NULL AND orphan_since < ? AND state <> 'tombstoned' LIMIT ${PAGE}`;

/** Takes those out of sight that have waited since before `before`. */
export async function dropOrphans({ database, objects, logger }: OrphansInit, before: number): Promise<void> {
  for (;;) {
    const orphans = await database.query<{ id: number; key: string }>(ORPHANS_QUERY, [before]);
    for (const { id, key } of orphans) {
      const isGone = await database.write(async (sql) => {
        if (await tombstoneOrphan(sql, id, before)) return true;
        // A narinfo may have come for it meanwhile.
        await adopt(sql, id);
        return false;
      });
      if (!isGone) continue;
      objects.forget(key);
      logger.info({ key }, 'removed a NAR that no path points at');
    }
    if (orphans.length < PAGE) return;
  }
}
