/** Waiting for conditions. It needs nothing else, since pods of tests wait too. */
import { pauseAfter } from './pause.ts';

/** Longer than anything takes on a machine with ten times the work of a quiet one: only a failure waits for it. */
const LIMIT_MS = 90_000;

/**
 * Waits until `condition` holds, looking ever more seldom, since a look costs processor time that others wait for.
 * Fails after `timeoutMs` with `what`.
 */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  timeoutMs = LIMIT_MS,
): Promise<void> {
  const start = Date.now();
  while (!(await condition())) {
    const waitedMs = Date.now() - start;
    if (waitedMs > timeoutMs) throw new Error(`waited ${timeoutMs} ms for: ${what}`);
    await pauseAfter(waitedMs);
  }
}
