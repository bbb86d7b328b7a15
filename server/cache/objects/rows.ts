/** Rows of objects: how they come, are replaced, and are looked at one by one. */
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import { NAR_IS_BLOCKED } from '../blocks/index.ts';
import { CacheError } from '../errors.ts';
import { endStatement } from './intents.ts';
import type { Examined, NarFacts, NewObject, StoredObject } from './object.ts';
import { drop, tombstone } from './tombstones.ts';

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

/**
 * Inserts an object, whose bytes are accounted for from then on; fails where its key is taken, and where it waits for a path
 * and no path may have it.
 */
export function objectStatements(object: NewObject, nar?: NarFacts, orphanSince: number | null = null): Statement[] {
  const insert = objectStatement(object, nar, orphanSince, nar !== undefined && orphanSince !== null);
  return object.isIntended ? [insert, endStatement(object.storage, object.name)] : [insert];
}

function objectStatement(
  object: NewObject,
  nar: NarFacts | undefined,
  orphanSince: number | null,
  isAsked: boolean,
): Statement {
  const { compression = null, fileHash = null, narHash = null, narSize = null } = nar ?? {};
  // The column does not take NULL.
  const state = isAsked ? `(SELECT CASE WHEN NOT ${NAR_IS_BLOCKED} THEN 'verified' END)` : `'verified'`;
  return [
    `INSERT INTO objects (key, storage, name, size, state, created_at, compression, file_hash, nar_hash, nar_size, orphan_since)
     VALUES (?, ?, ?, ?, ${state}, ?, ?, ?, ?, ?, ?)`,
    object.key,
    object.storage,
    object.name,
    object.size,
    ...(isAsked ? [narHash] : []),
    Date.now(),
    compression,
    fileHash,
    narHash,
    narSize,
    orphanSince,
  ];
}

/** Inserts an object; its id, or undefined when the key is taken. */
export async function insertObject(
  sql: Sql,
  object: NewObject,
  nar?: NarFacts,
  orphanSince: number | null = null,
): Promise<number | undefined> {
  const [text, ...values] = objectStatement(object, nar, orphanSince, false);
  const rows = await sql.query<{ id: number }>(`${text} ON CONFLICT (key) DO NOTHING RETURNING id`, values);
  // Where the key is taken the bytes get a tombstone next.
  if (object.isIntended) await sql.run([endStatement(object.storage, object.name)]);
  return rows[0]?.id;
}

/** How often a key is taken away from us before a client hears of it. */
const REPLACEMENTS = 20;

/**
 * Puts an object in the place of the one with its key. Another server may do the same: whoever commits last stays, and
 * the bytes of the other go.
 */
export async function replaceObject(sql: Sql, object: NewObject): Promise<void> {
  for (let attempt = 0; attempt < REPLACEMENTS; attempt++) {
    const [old] = await sql.query<Pick<StoredObject, 'id' | 'storage' | 'name'> & { state: string }>(
      'SELECT id, storage, name, state FROM objects WHERE key = ?',
      [object.key],
    );
    // The same write ran before, and was said to have failed.
    if (old?.storage === object.storage && old.name === object.name) return;
    if (old?.state === 'lost') await drop(sql, old);
    else if (old !== undefined) await tombstone(sql, old.id);
    if ((await insertObject(sql, object)) !== undefined) return;
  }
  throw new CacheError('Unavailable', `${object.key} is being replaced by other requests`);
}
