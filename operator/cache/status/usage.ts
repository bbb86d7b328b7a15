/** `status.usage`: what the servers say of what is in the cache. Pure. */
import { type BinaryCacheStatus, type CacheStatus, roundBytes } from '../../../crds/index.ts';
import type { Observed } from '../observe/index.ts';
import type { Cache } from '../types.ts';

export type Usage = NonNullable<BinaryCacheStatus['usage']>;

type Told = CacheStatus & { readonly usage: NonNullable<CacheStatus['usage']> };

/** What the server says that knows of the newest run: those that share a database say the same, one a moment later. */
export function newestUsage({ reports }: Pick<Observed, 'reports'>): Told | undefined {
  const all = [...reports.values()].flatMap(({ caches }) => caches.filter(isTold));
  return all.sort((a, b) => (b.usage.lastGC?.run ?? 0) - (a.usage.lastGC?.run ?? 0))[0];
}

/** Servers from before this was told say nothing, and neither does one whose database is away. */
const isTold = (cache: CacheStatus): cache is Told => cache.usage != null;

/** While nobody tells, what was told before. */
export function usageOf({ status }: Cache, observed: Observed): Usage | undefined {
  const told = newestUsage(observed);
  if (told === undefined) return status?.usage;
  const { bytes, paths, lastGC } = told.usage;
  return {
    bytes: roundBytes(bytes),
    paths,
    ...(told.waiting != null && { waiting: told.waiting.paths }),
    ...(lastGC !== null && {
      lastGC: {
        run: lastGC.run,
        state: lastGC.state,
        // In whole seconds, as all times of an API server are.
        begunAt: lastGC.begunAt.replace(/\.\d+(?=Z$)/, ''),
        removedPaths: lastGC.removedPaths,
        removedBytes: roundBytes(lastGC.removedBytes),
      },
    }),
  };
}
