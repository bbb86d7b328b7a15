/**
 * What a collection has chosen goes: first the paths that nothing refers to, and later, so that a client that has just read
 * one of them gets its closure, what they needed. In short transactions, referrers before what they refer to. What a push,
 * a pin or a deployment needs meanwhile has the number of the collection in its row and stays; so does what is used.
 */
import type { Database, Sql } from '../../metadata/index.ts';
import { crashPoint } from '../../storage/index.ts';
import type { Paths } from '../paths/index.ts';
import { holdRun, markNeeded, type RetiredReason, retire } from '../retired/index.ts';
import type { PathGraph } from './graph.ts';
import type { Plan } from './plan.ts';

interface Doomed {
  readonly turn: number;
  readonly hash_part: string;
  readonly reason: RetiredReason;
}

export interface SweepInit {
  readonly database: Database;
  readonly paths: Pick<Paths, 'hide' | 'remove' | 'lookAgainAt' | 'bringBack'>;
  readonly run: number;
  /** When the collection began: who was used later stays. */
  readonly begunAt: number;
  readonly signal: AbortSignal;
}

const BATCH = 200;

/** Writes down what is to go, roots with negative turns: a server that takes over knows what is left. */
export async function doom(
  { database, run, signal }: Pick<SweepInit, 'database' | 'run' | 'signal'>,
  graph: PathGraph,
  plan: Plan,
): Promise<void> {
  const { victims, reasons, roots } = plan;
  for (let start = 0; start < victims.length; start += BATCH) {
    signal.throwIfAborted();
    const rows = Array.from(victims.subarray(start, start + BATCH), (number, at) => ({
      turn: start + at < roots ? start + at - roots : start + at,
      hashPart: graph.hashPartOf(number),
      reason: reasons[start + at] ?? 'unused',
    }));
    await database.write(async (sql) => {
      await mustHold(sql, run);
      await sql.run(
        rows.map(({ turn, hashPart, reason }) => [
          'INSERT INTO doomed (turn, hash_part, reason) VALUES (?, ?, ?)',
          turn,
          hashPart,
          reason,
        ]),
      );
    });
  }
}

/** How many roots, or how many others, are left to go. */
export async function countDoomed(database: Pick<Database, 'query'>, part: 'roots' | 'all'): Promise<number> {
  const [row] = await database.query<{ n: number }>(
    `SELECT count(*) AS n FROM doomed${part === 'roots' ? ' WHERE turn < 0' : ''}`,
  );
  return Number(row?.n ?? 0);
}

/** Retires what is doomed, the roots only or all; how many paths went. @throws AbortError */
export async function sweep(init: SweepInit, part: 'roots' | 'all'): Promise<number> {
  const { database, paths, begunAt, signal } = init;
  let gone = 0;
  for (;;) {
    signal.throwIfAborted();
    const batch = await database.query<Doomed>(
      `SELECT turn, hash_part, reason FROM doomed ${part === 'roots' ? 'WHERE turn < 0' : ''} ORDER BY turn LIMIT ${BATCH}`,
    );
    if (batch.length === 0) return gone;
    const retired = await sweepBatch(init, batch).catch(async (error: unknown) => {
      // A commit that failed may have reached the disk all the same.
      await paths.lookAgainAt(batch.map((it) => it.hash_part));
      throw error;
    });
    paths.remove(retired);
    // Who was used while that was committed has a row of it by now, or will be brought back by whoever writes it.
    await paths.bringBack(await usedSince(database, database, retired, begunAt), ['unused']);
    gone += retired.length;
    crashPoint('after-sweep');
  }
}

function sweepBatch({ database, paths, run, begunAt }: SweepInit, batch: readonly Doomed[]): Promise<string[]> {
  const hashParts = batch.map((it) => it.hash_part);
  const reasons = new Map(batch.map((it) => [it.hash_part, it.reason]));
  return database.write(async (sql) => {
    await mustHold(sql, run);
    await markNeeded(database, sql, await usedSince(database, sql, hashParts, begunAt), run);
    const retired = await retire(database, sql, {
      hashParts,
      reason: (hashPart) => reasons.get(hashPart) ?? 'unused',
      actor: undefined,
      run,
      now: Date.now(),
    });
    await sql.run([
      [`DELETE FROM doomed WHERE ${database.isOneOf('turn')}`, database.list(batch.map((it) => it.turn))],
      ...database.announce(retired),
    ]);
    // Inside, where writes have an order: whoever brings one back comes later, and says so later.
    paths.hide(retired);
    return retired;
  });
}

async function usedSince(
  database: Pick<Database, 'isOneOf' | 'list'>,
  sql: Pick<Sql, 'query'>,
  hashParts: readonly string[],
  begunAt: number,
): Promise<string[]> {
  const rows = await sql.query<{ hash_part: string }>(
    `SELECT hash_part FROM uses WHERE ${database.isOneOf('hash_part')} AND used_at > CAST(? AS bigint)`,
    [database.list(hashParts), begunAt],
  );
  return rows.map((row) => row.hash_part);
}

/**
 * A server that stood still for long may have been taken for dead: what it chose is another one's by now, and what that one
 * has taken may be back since.
 */
async function mustHold(sql: Sql, run: number): Promise<void> {
  if (!(await holdRun(sql, run))) throw new Error(`another server has ended collection ${run}`);
}
