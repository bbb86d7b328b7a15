/** What a process knows of each storage of a cache, and the room in it that writes under way hold. */
import type { Storage, StorageHealth } from '../storage/index.ts';
import type { StorageMode, StoragePlan } from './storage-plan.ts';

export interface Entry {
  plan: StoragePlan;
  /** Whether what an earlier process left behind was removed: once a process, since its own writes may be under way. */
  settled: boolean;
  readonly storage: Storage;
  usedBytes: number;
  /** Declared bytes of writes that are under way. */
  reservedBytes: number;
  /** How many writes are under way. */
  writes: number;
  fullUntil: number;
}

/** What this process knows of a storage. */
export interface StorageFacts {
  readonly name: string;
  readonly mode: StorageMode;
  readonly state: StorageHealth['state'];
  /** Why it is unavailable. */
  readonly reason?: string;
  readonly usedBytes: number;
  readonly freeBytes?: number;
  /** Writes under way here. */
  readonly writes: number;
}

export const GIVEN_UP: StorageHealth = { state: 'Unavailable', reason: 'its data is given up (mode Abandoned)' };

/** A place for `size` bytes, counted as used until released. */
export interface Placement {
  readonly storage: Storage;
  release(): void;
}

export function isAbandoned(entry: Entry): boolean {
  return entry.plan.mode === 'Abandoned';
}

export function reserve(entry: Entry, size: number): Placement {
  entry.reservedBytes += size;
  entry.writes++;
  let held = true;
  return {
    storage: entry.storage,
    release() {
      if (!held) return;
      held = false;
      entry.reservedBytes -= size;
      entry.writes--;
    },
  };
}
