import { setTimeout as sleep } from 'node:timers/promises';

/** Less than the patience of those who ask: probes, scrapers, the operator. */
const SOON_MS = 2000;

/** What a database says, if it says so soon; undefined where it fails or is away: whoever only tells does not wait for it. */
export function soon<T>(work: Promise<T>): Promise<T | undefined> {
  return Promise.race([work.catch(() => undefined), sleep(SOON_MS, undefined, { ref: false })]);
}
