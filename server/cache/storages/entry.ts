/** What a process knows of each storage of a cache, and the room in it that writes under way hold. */
import type { StorageStatus } from '../../../crds/index.ts';
import { type Storage, StorageFullError, type StorageHealth, type StorageUsage } from '../../storage/index.ts';
import type { ResolvedStorage } from './spec.ts';

export interface Entry {
  spec: ResolvedStorage;
  /** Whether the database has a row for it: a volume that was never mounted has none yet. */
  known: boolean;
  /** Whether what an earlier process left behind was removed: once a process, since its own writes may be under way. */
  settled: boolean;
  readonly storage: Storage;
  usedBytes: number;
  /** Declared bytes of writes that are under way. */
  reservedBytes: number;
  /** How many writes are under way. */
  writes: number;
  fullUntil: number;
  /** Of the medium, as it was when room was last looked for. */
  totalBytes: number | undefined;
}

export function newEntry(spec: ResolvedStorage, storage: Storage, known: boolean): Entry {
  return {
    spec,
    storage,
    known,
    settled: false,
    usedBytes: 0,
    reservedBytes: 0,
    writes: 0,
    fullUntil: 0,
    totalBytes: undefined,
  };
}

type RoomFacts = Pick<StorageStatus, 'freeBytes' | 'capacityBytes' | 'full'>;

/** What this process knows of a storage. `reason`: why it is unavailable. */
export type StorageFacts = RoomFacts &
  Pick<StorageStatus, 'name' | 'mode' | 'state' | 'reason' | 'usedBytes' | 'writes'>;

export const GIVEN_UP: StorageHealth = { state: 'Unavailable', reason: 'its data is given up (mode Abandoned)' };

/** A place for `size` bytes, counted as used until released. */
export interface Placement {
  readonly storage: Storage;
  /** So many bytes are on their way, where that was not known before. */
  grow(size: number): void;
  release(): void;
}

export function isAbandoned(entry: Entry): boolean {
  return entry.spec.mode === 'Abandoned';
}

/** Whether a write has found it full a moment ago, and it has not grown since. */
export async function leftOut(entry: Entry): Promise<boolean> {
  if (entry.fullUntil <= Date.now()) return false;
  const usage = await entry.storage.usage().catch(() => undefined);
  const totalBytes = usage?.totalBytes;
  if (totalBytes === undefined || totalBytes <= (entry.totalBytes ?? totalBytes)) return true;
  entry.fullUntil = 0;
  return false;
}

export function reserve(entry: Entry, size: number): Placement {
  entry.reservedBytes += size;
  entry.writes++;
  let held = true;
  let reserved = size;
  return {
    storage: entry.storage,
    grow(now) {
      if (!held || now <= reserved) return;
      entry.reservedBytes += now - reserved;
      reserved = now;
    },
    release() {
      if (!held) return;
      held = false;
      entry.reservedBytes -= reserved;
      entry.writes--;
    },
  };
}

/** What is known of the room in a storage. */
export function roomOf(entry: Entry, usage: StorageUsage | undefined): RoomFacts {
  const capacity = entry.spec.capacityBytes ?? usage?.totalBytes;
  return {
    ...(usage?.freeBytes !== undefined && { freeBytes: usage.freeBytes }),
    ...(capacity !== undefined && { capacityBytes: capacity }),
    ...(isOutOfRoom(entry, usage) && { full: true }),
  };
}

/** With less than this a storage has no room: hardly a path is smaller than the files beside it. */
const LEAST_ROOM_BYTES = 2 ** 20;

/** Whether a storage that is written to takes no more. */
function isOutOfRoom(entry: Entry, usage: StorageUsage | undefined): boolean {
  const { spec, usedBytes, fullUntil } = entry;
  if (spec.mode !== 'ReadWrite') return false;
  const { capacityBytes = Infinity } = spec;
  const room = Math.min(capacityBytes - usedBytes, usage?.freeBytes ?? Infinity);
  return room < LEAST_ROOM_BYTES || fullUntil > Date.now();
}

/** The two errors of a full medium look alike to a client. */
export function isFull(error: unknown): error is StorageFullError {
  return error instanceof StorageFullError;
}
