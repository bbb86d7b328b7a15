/** Conditions of what a cache holds. Pure. */
import * as reasons from '../reasons.ts';
import { condition, type Facts, type NewCondition } from './facts.ts';

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
