/** Which paths a collection takes, and why, for people: the largest first, with their names, page by page. */
import type { Database } from '../../metadata/index.ts';
import type { CollectionRow } from './collections.ts';
import { type GraphRow, PathGraph } from './graph.ts';
import type { Plan } from './plan.ts';

export interface Taken {
  /** `<hash part>-<name>` */
  readonly basename: string;
  readonly reason: string;
  /** Of its NAR's file, which other paths may share. */
  readonly size: number;
  /** When it was used itself, which may be before what refers to it was; milliseconds since 1970. */
  readonly usedAt: number;
}

const PAGE = 500;

/** What a plan takes. */
export function listPlan(
  database: Database,
  graph: PathGraph,
  { victims, reasons }: Pick<Plan, 'victims' | 'reasons'>,
): AsyncGenerator<Taken[]> {
  const reasonOf = new Uint8Array(graph.size);
  victims.forEach((number, at) => {
    reasonOf[number] = reasons[at] === 'maxSize' ? 1 : 0;
  });
  return list(graph, victims.slice(), async (hashParts) => {
    const rows = await database.query<{ hash_part: string; name: string }>(
      `SELECT hash_part, name FROM paths WHERE ${database.isOneOf('hash_part')}`,
      [database.list(hashParts)],
    );
    return rows.map((row) => ({
      ...row,
      reason: reasonOf[graph.numberOf(row.hash_part)] === 1 ? 'maxSize' : 'unused',
    }));
  });
}

type Named = { readonly hash_part: string; readonly name: string; readonly reason: string };

/** What a collection has retired, as long as its grace lasts and nobody has brought it back. */
export async function* listRetired(database: Database, run: CollectionRow): AsyncGenerator<Taken[]> {
  const graph = await retiredBy(database, run);
  const all = Int32Array.from({ length: graph.size }, (_, number) => number);
  yield* list(graph, all, (hashParts) =>
    database.query<Named>(`SELECT hash_part, name, reason FROM retired WHERE ${database.isOneOf('hash_part')}`, [
      database.list(hashParts),
    ]),
  );
}

const RETIRED_QUERY = `SELECT r.hash_part, '' AS refs, r.object_id, r.retired_at AS published_at, r.used_at, o.size
  FROM retired r JOIN objects o ON o.id = r.object_id
  WHERE r.retired_at >= ? AND r.retired_at <= ? AND (r.retired_at > ? OR r.hash_part > ?) AND r.reason <> 'deleted'
  ORDER BY r.retired_at, r.hash_part LIMIT ${PAGE}`;

/** No run writes its number into what it retires: none overlaps another. */
async function retiredBy(database: Database, { begun_at, ended_at }: CollectionRow): Promise<PathGraph> {
  const graph = new PathGraph();
  for (let [at, after] = [begun_at, '']; ; ) {
    const rows = await database.query<GraphRow>(RETIRED_QUERY, [at, ended_at ?? Date.now(), at, after]);
    for (const row of rows) graph.add(row);
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return graph;
    [at, after] = [Number(last.published_at), last.hash_part];
  }
}

/** @param numbers of paths; they are sorted */
async function* list(
  graph: PathGraph,
  numbers: Int32Array,
  namesOf: (hashParts: string[]) => Promise<Named[]>,
): AsyncGenerator<Taken[]> {
  numbers.sort((a, b) => graph.sizeOf(b) - graph.sizeOf(a) || a - b);
  for (let start = 0; start < numbers.length; start += PAGE) {
    const page = numbers.subarray(start, start + PAGE);
    const rows = await namesOf(Array.from(page, (number) => graph.hashPartOf(number)));
    const named = new Map(rows.map((row) => [graph.numberOf(row.hash_part), row]));
    yield Array.from(page).flatMap((number) => {
      // What has gone meanwhile has no name any more.
      const row = named.get(number);
      if (row === undefined) return [];
      const { hash_part, name, reason } = row;
      const [size, usedAt] = [graph.sizeOf(number), graph.usedAt(number) * 1000];
      return [{ basename: `${hash_part}-${name}`, reason, size, usedAt }];
    });
  }
}
