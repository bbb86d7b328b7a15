/** `status.pods`: which pods run the manifest that they should, and since when that is known. Pure. */
import { timestamp } from '../../runtime/index.ts';
import type { Observed } from '../observe/index.ts';
import type { Cache, PodStatus } from '../types.ts';

/** What the CRD takes: as many as a cache may have. */
const MOST_PODS = 64;

export function podStatus(cache: Cache, { pods, reports }: Observed, expectedHash: string, now: Date): PodStatus[] {
  const { configHash, pods: told = [] } = cache.status ?? {};
  const before = new Map(configHash === expectedHash ? told.map((pod) => [pod.name, pod]) : []);
  return pods
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .slice(0, MOST_PODS)
    .map(({ metadata: { name } }): PodStatus => {
      const files = reports.get(name)?.config.files;
      const isCurrent = files?.some(({ sha256 }) => sha256 === expectedHash);
      const config = isCurrent === undefined ? 'Unknown' : isCurrent ? 'Current' : 'Outdated';
      const known = before.get(name);
      return known?.config === config ? known : { name, config, since: timestamp(now) };
    });
}
