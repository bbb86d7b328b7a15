/** Reads the graph of all published paths, a page at a time, so that no request waits for it. */
import { setImmediate as breathe } from 'node:timers/promises';
import type { Database } from '../../metadata/index.ts';
import { LAST_USE, USE_JOIN, usesSince } from '../use/index.ts';
import { type GraphRow, PathGraph } from './graph.ts';

const PAGE = 500;

/** Its plan is tested. */
export const GRAPH_QUERY = `SELECT p.hash_part, p.refs, p.object_id, p.published_at, o.size, ${LAST_USE} AS used_at
  FROM paths p JOIN objects o ON o.id = p.object_id ${USE_JOIN} WHERE p.hash_part > ? ORDER BY p.hash_part LIMIT ${PAGE}`;

/** @param expected about how many paths there are. @throws AbortError */
export async function loadGraph(database: Database, expected: number, signal: AbortSignal): Promise<PathGraph> {
  const graph = new PathGraph(expected);
  // Nobody wrote down what was used before.
  const since = await usesSince(database);
  for (let after = ''; ; ) {
    signal.throwIfAborted();
    const rows = await database.query<GraphRow>(GRAPH_QUERY, [after]);
    for (const row of rows) graph.add({ ...row, used_at: Math.max(Number(row.used_at), since) });
    const last = rows.at(-1);
    if (last === undefined || rows.length < PAGE) return graph;
    after = last.hash_part;
    await breathe();
  }
}
