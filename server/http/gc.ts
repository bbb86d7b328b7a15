/** The doors of the garbage collection: what it did, what it would do, and its beginning. */
import { type BinaryCache, CacheError, type CollectionReport, collectionStatus, type Taken } from '../cache/index.ts';
import { STORE_DIR } from '../nix/index.ts';
import type { Asking, Door } from './door.ts';

/** Paths of a list where nobody says how many. */
const LISTED = 1000;
/** A plan of a large cache takes memory, also while a client is slow to read it. */
const planning = new WeakSet<BinaryCache>();

export const gcDoors: readonly Door[] = [
  {
    name: 'gc-runs',
    method: 'GET',
    pattern: /^\/gc$/,
    needs: 'Read',
    answer: async (cache, { isAdmin }) => {
      const runs = await cache.retention.report();
      return { status: 200, value: runs.map((run) => runShown(collectionStatus(run), isAdmin)) };
    },
  },
  {
    name: 'gc-start',
    method: 'POST',
    pattern: /^\/gc$/,
    needs: 'Admin',
    bodyBytes: 1024,
    answer: async (cache, { body }) => {
      const isConfirmed = parseStart(await body());
      return { status: 202, value: await cache.retention.begin(isConfirmed) };
    },
  },
  {
    name: 'gc-plan',
    method: 'GET',
    pattern: /^\/gc\/plan$/,
    needs: 'Admin',
    answer: async (cache, asking) => ({ lines: plan(cache, limitOf(asking), asking.signal) }),
  },
  {
    name: 'gc-run',
    method: 'GET',
    pattern: /^\/gc\/([^/]+)$/,
    needs: 'Admin',
    answer: async (cache, asking) => {
      const run = await cache.retention.find(numberOf(asking.name));
      if (run === undefined) throw new CacheError('NotFound', 'no such run of the garbage collection');
      return { lines: taken(cache, run, limitOf(asking)) };
    },
  },
];

/** The first line of a plan. */
export interface PlanView {
  readonly paths: number;
  readonly bytes: number;
  readonly removedPaths: number;
  readonly removedBytes: number;
  /** Why it would wait until somebody confirms it; null: it would not. */
  readonly held: string | null;
}

/** Each other line of a plan or a run. */
export interface TakenView {
  readonly storePath: string;
  readonly reason: string;
  readonly size: number;
  readonly usedAt: string;
}

async function* plan(cache: BinaryCache, limit: number, signal: AbortSignal): AsyncGenerator<readonly unknown[]> {
  if (planning.has(cache)) throw new CacheError('Conflict', 'a dry run of this cache is under way; try again later');
  planning.add(cache);
  try {
    const { paths, bytes, removedPaths, removedBytes, held, list } = await cache.retention.dryRun(signal);
    const first: PlanView = { paths, bytes, removedPaths, removedBytes, held: held ?? null };
    yield [first];
    yield* views(list(), limit);
  } finally {
    planning.delete(cache);
  }
}

async function* taken(cache: BinaryCache, run: CollectionReport, limit: number): AsyncGenerator<readonly unknown[]> {
  yield [run];
  yield* views(cache.retention.retired(run.run), limit);
}

async function* views(pages: AsyncIterable<readonly Taken[]>, limit: number): AsyncGenerator<TakenView[]> {
  let left = limit;
  for await (const page of pages) {
    if (left <= 0) return;
    yield page.slice(0, left).map(({ basename, reason, size, usedAt }) => ({
      ...{ storePath: `${STORE_DIR}/${basename}`, reason, size },
      usedAt: new Date(usedAt).toISOString(),
    }));
    left -= page.length;
  }
}

/** What went wrong may name what is none of a reader's business. */
export function runShown<T extends { readonly message: string | null }>(run: T, isAdmin: boolean): Omit<T, 'message'> {
  const { message, ...rest } = run;
  return isAdmin ? { ...rest, message } : rest;
}

/** @throws CacheError Invalid */
function parseStart(body: unknown): boolean {
  const fields = typeof body === 'object' && body !== null && !Array.isArray(body) ? body : undefined;
  const { confirm = false, ...rest } = (fields ?? { body }) as { confirm?: unknown };
  if (typeof confirm !== 'boolean' || Object.keys(rest).length > 0)
    throw new CacheError('Invalid', 'expected {"confirm": true} or {"confirm": false}');
  return confirm;
}

/** @throws CacheError Invalid */
function limitOf({ query }: Asking): number {
  const text = query.get('limit');
  if (text === undefined) return LISTED;
  if (!/^\d{1,9}$/.test(text)) throw new CacheError('Invalid', 'limit: expected a whole number');
  return Number(text);
}

/** @throws CacheError NotFound */
function numberOf(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new CacheError('NotFound', 'no such run of the garbage collection');
  return Number(text);
}
