/** A routing table in a file, looked at every now and then: that works on network disks and with swapped links too. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TableSource } from './table.ts';

export function fileTable(file: string, intervalMs: number): TableSource {
  return async (listener, signal) => {
    let last: string | undefined;
    while (!signal.aborted) {
      try {
        const text = await readFile(file, 'utf8');
        if (text !== last) listener.changed({ whole: text });
        last = text;
      } catch (error) {
        listener.missing(error instanceof Error ? error.message : String(error));
        last = undefined;
      }
      await sleep(intervalMs, undefined, { signal }).catch(() => {});
    }
  };
}
