/** What people, probes and metrics want to know of each storage. */
import type { StoragePhase, StorageStatus } from '../../../crds/index.ts';
import { soon } from '../flow/index.ts';
import type { Lost } from '../paths/index.ts';
import type { StorageFacts, Storages } from '../storages/index.ts';
import { isEmpty, type Remains } from '../storages/index.ts';
import type { DrainProgress, PauseReason } from './progress.ts';
import type { StorageWork } from './work.ts';

/** The state of a storage. @param remains of one that is drained */
export function phaseOf(
  { mode, state, writes }: Pick<StorageFacts, 'mode' | 'state' | 'writes'>,
  remains: Remains | undefined,
  reason: PauseReason | undefined,
): StoragePhase {
  if (mode === 'Abandoned') return 'Abandoned';
  if (mode !== 'Drain') return state;
  if (remains !== undefined && isEmpty(remains) && writes === 0) return 'Drained';
  // What was moved needs the storage once more, for its removal.
  return reason !== undefined || state === 'Unavailable' ? 'Paused' : 'Draining';
}

export async function reportStorages(
  storages: Storages,
  work: StorageWork,
  lost: Pick<Lost, 'counts'>,
): Promise<StorageStatus[]> {
  const counting = soon(lost.counts());
  return Promise.all(
    (await storages.report()).map(async (known) => {
      const isLeaving = known.mode === 'Drain' || known.mode === 'Abandoned';
      // A database that does not answer has a line of its own.
      const [counts, remains] = await Promise.all([counting, isLeaving ? soon(work.remains(known.name)) : undefined]);
      const facts = { ...known, ...(counts && { lostObjects: counts.get(known.name) ?? 0 }) };
      if (!isLeaving) return { ...facts, phase: phaseOf(facts, undefined, undefined) };
      const progress = facts.mode === 'Drain' ? work.progress(facts.name) : undefined;
      return drainReport(facts, remains, progress);
    }),
  );
}

function drainReport(
  facts: StorageFacts & Pick<StorageStatus, 'lostObjects'>,
  remains: Remains | undefined,
  progress: DrainProgress | undefined,
): StorageStatus {
  const left = remains && {
    objects: remains.objects,
    bytes: remains.bytes,
    tombstones: remains.tombstones,
    uploads: remains.uploads,
  };
  const phase = phaseOf(facts, remains, progress?.reason);
  const reason = phase === 'Paused' ? (progress?.reason ?? 'Unavailable') : undefined;
  const lastError = progress?.lastError ?? (phase === 'Paused' ? facts.reason : undefined);
  return {
    ...facts,
    phase,
    ...left,
    ...(progress && {
      movedObjects: progress.movedObjects,
      movedBytes: progress.movedBytes,
      bytesPerSecond: progress.bytesPerSecond,
      failedObjects: progress.failedObjects,
    }),
    ...(reason !== undefined && { reason }),
    ...(lastError !== undefined && { lastError }),
  };
}

/** One line for a person. */
export function lineOf(storage: StorageStatus): string {
  const { lostObjects = 0 } = storage;
  return `${stateOf(storage)}${lostObjects > 0 ? `; ${lostObjects} of its objects lost` : ''}`;
}

function stateOf(storage: StorageStatus): string {
  const { objects = 0, bytes = 0, tombstones = 0, uploads = 0, movedObjects = 0, movedBytes = 0 } = storage;
  const left = `${objects} objects, ${bytes} bytes left`;
  switch (storage.phase) {
    case 'Ready':
      return `${storage.mode}, ${storage.full ? 'no room, ' : ''}${storage.usedBytes} bytes used`;
    case 'Unavailable':
      return storage.reason ?? 'unavailable';
    case 'Draining': {
      const rate = `${movedObjects} objects, ${movedBytes} bytes moved, ${storage.bytesPerSecond ?? 0} bytes/s`;
      if (objects > 0) return `draining: ${left}; ${rate}`;
      return `draining: all is moved; ${tombstones} objects wait for their removal, ${uploads} uploads for their end`;
    }
    case 'Paused':
      return `draining pauses (${storage.reason}): ${storage.lastError ?? 'no text'}; ${left}`;
    case 'Drained':
      return 'drained: it can be removed from the manifest';
    case 'Abandoned':
      return objects + tombstones + uploads === 0
        ? 'given up: it can be removed from the manifest'
        : `being given up: ${left}`;
  }
}
