/** Waiting for what others do. */
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;

/** Asks until something comes back that is neither undefined nor false; throws with the last error after `mostMs`. */
export async function until<T>(
  what: string,
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  { mostMs, pollMs = POLL_MS }: { mostMs: number; pollMs?: number },
): Promise<T> {
  const end = performance.now() + mostMs;
  for (;;) {
    let problem: unknown;
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      problem = error;
    }
    if (performance.now() > end) {
      const cause = problem instanceof Error ? `: ${problem.message}` : '';
      throw new Error(`${what}: not within ${mostMs / 1000} s${cause}`, { cause: problem });
    }
    await sleep(pollMs);
  }
}
