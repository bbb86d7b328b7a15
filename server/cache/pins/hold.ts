/** A pin that comes while a collection is under way. */
import type { Database } from '../../metadata/index.ts';
import { activeRun, markNeeded } from '../retired/index.ts';
import type { Pin, Revision } from './pin.ts';
import { type Added, addRevision } from './rows.ts';

/** Adds a revision. What it pins is not taken by a collection that has begun: either has the rows first. */
export function addHeld(database: Database, pin: Pin, by: Pick<Revision, 'origin' | 'token'>): Promise<Added> {
  return database.write(async (sql) => {
    const added = await addRevision(sql, pin, by, Date.now());
    // Only now: a collection that begins waits for transactions that have written something, and for no others.
    const run = await activeRun(sql);
    if (run !== undefined) await markNeeded(database, sql, [pin.path.hashPart], run);
    return added;
  });
}
