/** All objects that are served or should be, for those who look at each. */
import type { Database } from '../metadata/index.ts';
import type { Examined } from './lost.ts';

export type ObjectRow = Examined & { readonly state: 'verified' | 'lost' };

const PAGE = 500;

/** A page of them by their ids; its plan is tested. */
export const OBJECTS_QUERY = `SELECT id, key, storage, name, size, file_hash, state FROM objects
  WHERE state <> 'tombstoned' AND id > ? ORDER BY id LIMIT ${PAGE}`;

/** In the order of ids, which is that of time: what comes meanwhile comes last. */
export async function* objectsAfter(database: Pick<Database, 'query'>, id: number): AsyncGenerator<ObjectRow> {
  for (let after = id; ; ) {
    const rows = await database.query<ObjectRow>(OBJECTS_QUERY, [after]);
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}
