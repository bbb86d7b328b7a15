/**
 * One collection from its beginning to its end, or from where another server died. The order is what keeps it safe: its
 * number is made known, transactions that may not have seen it end, uses are written, and only then is marked.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { crashPoint } from '../../storage/index.ts';
import type { Paths } from '../paths/index.ts';
import type { RetentionSettings, Settings } from '../settings.ts';
import type { Uses } from '../use/index.ts';
import { beginCollection, type CollectionRow, endCollection, noteCollection } from './collections.ts';
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
}

/** A collection that would remove more than this part of all bytes waits until a person has confirmed it. */
const MOST_REMOVED = 0.5;

export function policyOf({ unusedMs, maxBytes, minAgeMs, high, low }: RetentionSettings): Policy {
  const part = (of: number) => (maxBytes === undefined ? undefined : maxBytes * of);
  return { unusedMs, highBytes: part(high), lowBytes: part(low), minAgeMs };
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

/** @param doubt why a person should look at it first. @throws AbortError: another server, or a restart, goes on with it */
export async function collect(
  init: CollectInit,
  { isConfirmed, doubt }: { readonly isConfirmed: boolean; readonly doubt: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { database, logger } = init;
  const begunAt = Date.now();
  const run = await beginCollection(database, begunAt);
  try {
    await database.settled(signal);
    const { graph, plan } = await planNow(init, signal);
    const { victims, bytes, freedBytes } = plan;
    await noteCollection(database, run, {
      ...{ paths: graph.paths, bytes, removedPaths: victims.length, removedBytes: freedBytes },
    });
    const isLarge = freedBytes > bytes * MOST_REMOVED;
    const why = isLarge ? `it would remove ${freedBytes} of ${bytes} bytes` : doubt;
    if (victims.length > 0 && why !== undefined && !isConfirmed) {
      logger.warn({ run, paths: victims.length, bytes: freedBytes, why }, 'a collection waits to be confirmed');
      await endCollection(database, run, 'held', why, Date.now());
      return;
    }
    await doom({ database, run, signal }, graph, plan);
  } catch (error) {
    if (!signal.aborted) await endCollection(database, run, 'failed', String(error), Date.now());
    throw error;
  }
  crashPoint('after-doom');
  await finish(init, { run, begun_at: begunAt }, signal);
}

/** Goes on with a collection that has chosen what to remove. @throws AbortError */
export async function finish(
  init: CollectInit,
  { run, begun_at: begunAt }: Pick<CollectionRow, 'run' | 'begun_at'>,
  signal: AbortSignal,
): Promise<void> {
  const { database, paths, uses, settings, logger } = init;
  const sweepInit = { database, paths, run, begunAt, signal };
  await uses.flush();
  let gone = await sweep(sweepInit, 'roots');
  if ((await countDoomed(database, 'all')) > 0) {
    await sleep(settings.rootsFirstMs, undefined, { signal, ref: false });
    await uses.flush();
    gone += await sweep(sweepInit, 'all');
  }
  await endCollection(database, run, 'done', undefined, Date.now());
  if (gone > 0) logger.info({ run, paths: gone }, 'a collection has retired paths');
}
