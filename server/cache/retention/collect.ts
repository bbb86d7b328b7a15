/**
 * One collection from its beginning to its end, or from where another server died. The order is what keeps it safe: its
 * number is made known, transactions that may not have seen it end, uses are written, and only then is marked.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { roundBytes } from '../../../crds/index.ts';
import type { Database } from '../../metadata/index.ts';
import { crashPoint } from '../../storage/index.ts';
import type { Paths } from '../paths/index.ts';
import type { RetentionSettings, Settings } from '../settings.ts';
import type { Uses } from '../use/index.ts';
import {
  beginCollection,
  type CollectionRow,
  type Ending,
  endCollection,
  noteCollection,
  retiredSince,
} from './collections.ts';
import type { PathGraph } from './graph.ts';
import { loadGraph } from './load.ts';
import { type Plan, type Policy, planRetention } from './plan.ts';
import { countDoomed, doom, type SweepInit, sweep } from './sweep.ts';

/** Hash parts that stay whatever their age, by pages. */
export type Keep = () => AsyncIterable<readonly string[]>;

export interface CollectInit {
  readonly database: Database;
  readonly paths: Pick<Paths, 'count' | keyof SweepInit['paths']>;
  readonly uses: Pick<Uses, 'flush'>;
  readonly pinned: Keep;
  readonly settings: Pick<Settings, 'retention' | 'rootsFirstMs'>;
  readonly logger: Logger;
  /** Nobody reads meanwhile: the cache was opened by a command alone. */
  readonly isAlone: boolean;
  /** A collection is over, or is held. */
  readonly onEnded: (run: { result: Ending['state']; milliseconds: number; paths: number; bytes: number }) => void;
}

/** A collection that would remove more than this part of all bytes waits until a person has confirmed it. */
const MOST_REMOVED = 0.5;

export function policyOf({ unusedMs, maxBytes, minAgeMs, high, low }: RetentionSettings): Policy {
  const part = (of: number) => (maxBytes === undefined ? undefined : maxBytes * of);
  return { unusedMs, highBytes: part(high), lowBytes: part(low), minAgeMs };
}

/** Why a person should look at a plan before it is done; undefined: nothing is strange. */
export function whyHeld({ victims, bytes, freedBytes }: Plan, doubt: string | undefined): string | undefined {
  if (victims.length === 0) return undefined;
  return freedBytes > bytes * MOST_REMOVED
    ? `it would remove ${roundBytes(freedBytes)}B of ${roundBytes(bytes)}B`
    : doubt;
}

/** What would go now. Nothing is changed. @throws AbortError */
export async function planNow(init: CollectInit, signal: AbortSignal): Promise<{ graph: PathGraph; plan: Plan }> {
  const { database, paths, uses, pinned, settings } = init;
  await uses.flush();
  const kept: string[] = [];
  if (settings.retention.keepPins) for await (const page of pinned()) kept.push(...page);
  const graph = await loadGraph(database, paths.count, signal);
  return { graph, plan: planRetention(graph, policyOf(settings.retention), kept, Date.now()) };
}

export interface CollectOptions {
  readonly isConfirmed: boolean;
  /** Why a person should look at it first. */
  readonly doubt: string | undefined;
  readonly onBegun?: (run: number) => void;
}

/** @throws AbortError: another server, or a restart, goes on with it */
export async function collect(
  init: CollectInit,
  { isConfirmed, doubt, onBegun }: CollectOptions,
  signal: AbortSignal,
): Promise<void> {
  const { database, logger } = init;
  const begunAt = Date.now();
  const run = await beginCollection(database, begunAt);
  onBegun?.(run);
  try {
    await database.settled(signal);
    const { graph, plan } = await planNow(init, signal);
    const { victims, bytes, freedBytes } = plan;
    await noteCollection(database, run, {
      ...{ paths: graph.paths, bytes, removedPaths: victims.length, removedBytes: freedBytes },
    });
    const why = whyHeld(plan, doubt);
    if (why !== undefined && !isConfirmed) {
      logger.warn({ run, paths: victims.length, bytes: freedBytes, why }, 'a collection waits to be confirmed');
      await end(init, { run, begun_at: begunAt }, { state: 'held', text: why });
      return;
    }
    await doom({ database, run, signal }, graph, plan);
  } catch (error) {
    if (!signal.aborted) await end(init, { run, begun_at: begunAt }, { state: 'failed', text: String(error) });
    throw error;
  }
  crashPoint('after-doom');
  await finish(init, { run, begun_at: begunAt }, signal);
}

type Begun = Pick<CollectionRow, 'run' | 'begun_at'>;

/** Ends a collection, and tells of it. */
export async function end({ database, onEnded }: CollectInit, { run, begun_at }: Begun, ending: Ending): Promise<void> {
  const now = Date.now();
  await endCollection(database, run, ending, now);
  const { paths, bytes } = ending.state === 'done' ? ending : { paths: 0, bytes: 0 };
  onEnded({ result: ending.state, milliseconds: Math.max(0, now - begun_at), paths, bytes });
}

/** Goes on with a collection that has chosen what to remove. @throws AbortError */
export async function finish(init: CollectInit, begun: Begun, signal: AbortSignal): Promise<void> {
  const { database, paths, uses, settings, isAlone, logger } = init;
  const { run, begun_at: begunAt } = begun;
  const sweepInit = { database, paths, run, begunAt, signal };
  await uses.flush();
  await sweep(sweepInit, 'roots');
  if ((await countDoomed(database, 'all')) > 0) {
    if (!isAlone) await sleep(settings.rootsFirstMs, undefined, { signal, ref: false });
    await uses.flush();
    await sweep(sweepInit, 'all');
  }
  const gone = await retiredSince(database, begunAt);
  await end(init, begun, { state: 'done', ...gone });
  if (gone.paths > 0) logger.info({ run, ...gone }, 'a collection has retired paths');
}
