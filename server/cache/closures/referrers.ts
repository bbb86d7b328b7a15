/** Who refers to a path: no index tells, so all references are read. */
import { setImmediate as breathe } from 'node:timers/promises';
import type { Database } from '../../metadata/index.ts';
import { HashSet } from '../../nix/index.ts';
import { REFERENCES_QUERY, type Referring, type ReferringRow, referringOf, wantedBy } from './rows.ts';

/** All published paths that refer to one of `wanted`, by pages; what is added to the set on the way counts from there on. */
export async function* referringTo(
  database: Pick<Database, 'query'>,
  wanted: Pick<HashSet, 'has'>,
  signal: AbortSignal,
): AsyncGenerator<Referring[]> {
  for (let after = ''; ; ) {
    signal.throwIfAborted();
    const rows = await database.query<ReferringRow>(REFERENCES_QUERY, [after]);
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.hash_part;
    yield rows.map(referringOf).filter((path) => wantedBy(path).some((it) => wanted.has(it)));
    await breathe();
  }
}

/**
 * The published paths that refer to a path; with `all` those that refer to these too, and so on, each after those that it
 * was found by. @throws AbortError
 */
export async function referrersOf(
  database: Pick<Database, 'query'>,
  hashPart: string,
  all: boolean,
  signal: AbortSignal,
): Promise<string[]> {
  const wanted = new HashSet();
  wanted.add(hashPart);
  const found = new Set<string>();
  for (let before = -1; before < found.size; ) {
    before = found.size;
    for await (const page of referringTo(database, wanted, signal))
      for (const path of page) {
        found.add(path.hashPart);
        if (all) wanted.add(path.hashPart);
      }
    if (!all) break;
  }
  found.delete(hashPart);
  return [...found];
}
