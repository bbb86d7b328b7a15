/** Conditions of what a cache holds. Pure. */

import { parseQuantity, roundBytes } from '../../../crds/index.ts';
import { namesOf } from '../names.ts';
import * as reasons from '../reasons.ts';
import { condition, type Facts, type NewCondition, yes } from './facts.ts';
import { newestUsage } from './usage.ts';

/** Pushes end sooner; what has waited for so long was pushed without what it needs. */
const WAITED_MS = 24 * 3600_000;

/** Where servers share a database all of them say the same, one a moment later. */
export function closuresComplete({ cache, observed, now }: Facts): NewCondition[] {
  for (const { caches } of observed.reports.values())
    for (const { waiting } of caches) {
      if (waiting?.since == null || +now - Date.parse(waiting.since) < WAITED_MS) continue;
      const { paths, since } = waiting;
      const effect =
        cache.spec.closures === 'Warn' ? 'are served all the same, as closures: Warn asks' : 'are not given to readers';
      const message = `${paths} ${paths === 1 ? 'path refers' : 'paths refer'} to what is not in this cache, since ${since} the first of them, and ${effect}: push what they need, closures as a whole`;
      return [condition(reasons.CLOSURES_COMPLETE, '', { reason: reasons.REFERENCES_MISSING, message })];
    }
  return [];
}

/** What a run of the garbage collection would remove, and how somebody says that it may. */
export function collectionHeld({ cache, observed }: Facts): NewCondition[] {
  const run = newestUsage(observed)?.usage.lastGC;
  if (run?.state !== 'held') return [];
  const { removedPaths, paths, removedBytes, bytes, message } = run;
  const what = `run ${run.run} would remove ${removedPaths} of ${paths} paths, ${roundBytes(removedBytes)}B of ${roundBytes(bytes)}B`;
  const command = `kubectl exec -n ${cache.metadata.namespace} ${namesOf(cache).workload}-0 -- narwhal-server gc`;
  const text = `${what}, and waits: ${message?.slice(0, MOST_CHARACTERS)}. Look with "${command} --dry-run", then let it go with "${command} --confirm"`;
  return [yes(reasons.COLLECTION_HELD, reasons.CONFIRMATION_NEEDED, text)];
}

/** How much of what the cache may hold is used. */
export function withinQuota({ cache, observed }: Facts): NewCondition[] {
  const { quota } = cache.spec;
  const bytes = newestUsage(observed)?.usage.bytes;
  if (quota === undefined || bytes === undefined) return [];
  const most = parseQuantity(quota.maxSize);
  const held = `the cache holds ${roundBytes(bytes)}B of ${roundBytes(most)}B`;
  const isNear = bytes >= (most * quota.softPercent) / 100;
  const effect = 'delete paths, let spec.retention remove some, or raise spec.quota.maxSize';
  const finding =
    bytes >= most
      ? { reason: reasons.QUOTA_REACHED, message: `${held}: pushes are refused; ${effect}` }
      : { reason: reasons.QUOTA_NEAR, message: `${held}, and takes no more then: ${effect}` };
  return [condition(reasons.WITHIN_QUOTA, held, isNear ? finding : undefined)];
}

/** The words of a server have any length. */
const MOST_CHARACTERS = 512;
