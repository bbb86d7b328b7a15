/** What must be true of the rows of a cache at any time, with nothing under way. */
import assert from 'node:assert/strict';
import type { Database } from '../../server/metadata/index.ts';

interface ObjectRow {
  readonly id: number;
  readonly key: string | null;
  readonly state: string;
  readonly orphan_since: number | null;
  readonly nar_hash: string | null;
}

/**
 * Whoever is served has a closure that is served; what a path or a retired path points at is not about to be removed; no
 * NAR is left that nothing points at and that nobody will look for.
 */
export async function assertSoundRows(database: Pick<Database, 'query'>, context = ''): Promise<void> {
  const [paths, retired, objects, waiting] = await Promise.all([
    database.query<{ hash_part: string; refs: string; object_id: number }>(
      'SELECT hash_part, refs, object_id FROM paths',
    ),
    database.query<{ hash_part: string; object_id: number }>('SELECT hash_part, object_id FROM retired'),
    database.query<ObjectRow>('SELECT id, key, state, orphan_since, nar_hash FROM objects'),
    database.query<{ missing: string; path: string }>('SELECT missing, path FROM waiting'),
  ]);
  const objectOf = new Map(objects.map((object) => [object.id, object]));
  const waits = new Set(waiting.map((wait) => wait.path));
  const servable = new Set<string>();
  for (const path of paths)
    if (objectOf.get(path.object_id)?.state === 'verified' && !waits.has(path.hash_part)) servable.add(path.hash_part);
  const wrong: string[] = [];
  for (const path of paths) {
    if (!servable.has(path.hash_part)) continue;
    for (const reference of path.refs === '' ? [] : path.refs.split(' '))
      if (reference.slice(0, 32) !== path.hash_part && !servable.has(reference.slice(0, 32)))
        wrong.push(`${path.hash_part} is served without ${reference}`);
  }
  for (const { missing, path } of waiting)
    if (servable.has(missing)) wrong.push(`${path} waits for ${missing}, which is here`);
  const pointed = new Set<number>();
  for (const path of [...paths, ...retired]) {
    pointed.add(path.object_id);
    const object = objectOf.get(path.object_id);
    if (object === undefined || object.state === 'tombstoned')
      wrong.push(`${path.hash_part} points at an object that is ${object === undefined ? 'gone' : 'tombstoned'}`);
  }
  for (const object of objects)
    if (
      object.nar_hash !== null &&
      object.state !== 'tombstoned' &&
      object.orphan_since === null &&
      !pointed.has(object.id)
    )
      wrong.push(`${object.key} belongs to nobody and stays for ever`);
  assert.deepEqual(wrong, [], context);
}
