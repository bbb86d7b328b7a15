/** `status.storages`: what the servers say of each storage, and what the volumes say. Pure. */
import { roundBytes, type ServerStatus } from '../../../crds/index.ts';
import { type PersistentVolumeClaim, wholeUnits } from '../../runtime/index.ts';
import { volumeName } from '../names.ts';
import type { Observed } from '../observe/index.ts';
import type { Cache, StorageStatus } from '../types.ts';

export type StorageReport = ServerStatus['caches'][number]['storages'][number];

/** What the servers say of this cache's storages, one report a name. Where pods differ, the worst counts. */
export function storageReports(observed: Pick<Observed, 'reports'>): ReadonlyMap<string, StorageReport> {
  const reports = new Map<string, StorageReport>();
  for (const status of observed.reports.values()) {
    for (const report of status.caches.flatMap(({ storages }) => storages)) {
      const other = reports.get(report.name);
      if (!other || RANK[report.phase] > RANK[other.phase]) reports.set(report.name, report);
    }
  }
  return reports;
}

/** Drained is the best that may be said of a storage only if every server says it. */
const RANK: Readonly<Record<StorageReport['phase'], number>> = {
  Drained: 0,
  Ready: 1,
  Abandoned: 2,
  Draining: 3,
  Paused: 4,
  Unavailable: 5,
};

/** What the CRD takes: four times what a manifest may have. */
const MOST_STORAGES = 64;

/** An entry for each storage of the manifest, and for those that the servers still have. */
export function storageStatus(cache: Cache, observed: Observed): StorageStatus[] {
  const reports = storageReports(observed);
  const wanted = cache.spec.storages.map(({ name }) => name);
  const before = new Map((cache.status?.storages ?? []).map((it) => [it.name, it]));
  const gone = [...before.keys(), ...reports.keys()].filter((name) => !wanted.includes(name));
  return [...wanted, ...new Set(gone)].slice(0, MOST_STORAGES).flatMap((name): StorageStatus[] => {
    const report = reports.get(name);
    if (report) return [withVolume(statusOf(report), volumeOf(cache, observed, name))];
    const isWanted = wanted.includes(name);
    // Servers that answer and do not know a storage have let go of it; servers that do not answer say nothing.
    if (!isWanted && observed.reports.size > 0) return [];
    const known = before.get(name);
    return [known ?? { name, phase: 'Pending' }];
  });
}

function statusOf(report: StorageReport): StorageStatus {
  const { name, phase } = report;
  const [used, capacity, objects, movedObjects] = [
    report.usedBytes,
    report.capacityBytes,
    report.objects,
    report.movedObjects,
  ].map(counted);
  return {
    name,
    phase,
    ...(used !== undefined && { used: roundBytes(used) }),
    ...(capacity !== undefined && { capacity: roundBytes(capacity) }),
    ...(objects !== undefined && { objects }),
    ...(movedObjects !== undefined && { movedObjects }),
  };
}

/** What is counted while it changes may be below zero for a moment, and some file systems have no end. */
function counted(value: number | undefined): number | undefined {
  return Number.isSafeInteger(value) ? Math.max(0, Number(value)) : undefined;
}

export function volumeOf(cache: Cache, { children }: Observed, storage: string): PersistentVolumeClaim | undefined {
  return children.get(`PersistentVolumeClaim/${volumeName(cache, storage)}`) as PersistentVolumeClaim | undefined;
}

/** A server without statistics of its own has those of its volume. */
function withVolume(status: StorageStatus, volume: PersistentVolumeClaim | undefined): StorageStatus {
  const size = wholeUnits(volume?.status?.capacity?.storage);
  return status.capacity === undefined && size !== undefined ? { ...status, capacity: roundBytes(size) } : status;
}

/** Whether a volume is on its way to another size. */
export function isResizing(volume: PersistentVolumeClaim): boolean {
  const { spec, status } = volume;
  if (status?.conditions?.some(({ type, status }) => /Resiz/.test(type) && status === 'True')) return true;
  const [wanted, real] = [spec.resources?.requests?.storage, status?.capacity?.storage].map(wholeUnits);
  return wanted !== undefined && real !== undefined && wanted > real;
}
