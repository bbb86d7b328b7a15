/** Pins on a database of their own, without a server. */
import type { Pin, Revision } from '../../server/cache/pins/index.ts';
import type { Database } from '../../server/metadata/index.ts';

/** A hash part for each number. */
export function hashPartOf(number: number): string {
  return String(number).padStart(32, '0');
}

export function pinOf(name: string, path: number, rest: Partial<Pin> = {}): Pin {
  return { name, path: { hashPart: hashPartOf(path), name: `p${path}` }, artifacts: [], keep: null, ...rest };
}

/** Rows of published paths, for pins alone: nobody reads their bytes. */
export async function publishRows(database: Database, paths: readonly number[]): Promise<void> {
  await database.script(
    paths.flatMap((path) => [
      [
        `INSERT INTO objects (key, storage, name, size, state, created_at, nar_hash, nar_size)
         VALUES (?, 'disk', ?, 1, 'verified', 0, 'sha256:0', 1)`,
        `nar/${path}`,
        `objects/${path}`,
      ],
      [
        `INSERT INTO paths (hash_part, name, refs, signatures, published_at, object_id)
         VALUES (?, ?, '', '', 0, (SELECT id FROM objects WHERE key = ?))`,
        hashPartOf(path),
        `p${path}`,
        `nar/${path}`,
      ],
    ]),
  );
}

export async function gathered<T>(pages: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const page of pages) all.push(...page);
  return all;
}

/** `1:p7` for each revision, the newest first. */
export function brief(revisions: readonly Revision[]): string[] {
  return revisions.map(({ revision, path }) => `${revision}:${path.name}`);
}
