/**
 * Names of objects: the hour and a UUID, as in `2026112316/<uuid>`. Opaque, never used twice, and sorted by time, so that
 * what an interrupted write may have left behind is found without a look at everything.
 */
import { randomUUID } from 'node:crypto';

export function newName(): string {
  return `${folderAt(new Date())}/${randomUUID()}`;
}

/** The folder that names made at `time` begin with: readable, sortable, at most 9 000 a year. */
export function folderAt(time: Date): string {
  return time.toISOString().slice(0, 13).replace(/\D/g, '');
}
