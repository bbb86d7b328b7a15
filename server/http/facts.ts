/** What is told of a cache to people and to programs alike: `/status` and the doors take it from here. */
import type { CacheStatus } from '../../crds/index.ts';
import { type BinaryCache, soon } from '../cache/index.ts';

type Facts = Pick<CacheStatus, 'paths' | 'lostObjects' | 'waiting' | 'pins' | 'usage' | 'scrubs' | 'storages'>;

/** Null, for what the database does not say soon. */
export async function factsOf(cache: BinaryCache): Promise<Facts> {
  // Side by side: where the database is away each waits for it as long as may be.
  const [counts, pins, scrubs, waiting, retention, storages] = await Promise.all([
    soon(cache.lost.counts()),
    soon(cache.pins.report()),
    soon(cache.scrub.report()),
    soon(cache.closures.report()),
    soon(cache.retention.status()),
    cache.storageReport(),
  ]);
  const paths = cache.paths.count;
  return {
    paths,
    lostObjects: counts === undefined ? null : [...counts.values()].reduce((sum, n) => sum + n, 0),
    waiting: waiting === undefined ? null : { paths: waiting.paths, since: waiting.since?.toISOString() ?? null },
    pins: pins ?? null,
    usage:
      retention === undefined
        ? null
        : { bytes: storages.reduce((sum, it) => sum + it.usedBytes, 0), paths, ...retention },
    scrubs: scrubs ?? [],
    storages,
  };
}
