/**
 * Whether the clock can be believed. Times of uses and publications are compared with now: where the clock has jumped, or
 * the cache was not run for long, everything looks unused at once, and a person should look first.
 */
import type { Database } from '../../metadata/index.ts';
import { readMeta, writeMeta } from '../database/index.ts';

/** Longer than that nothing was noted: the cache did not run, or the clock was set. */
const MOST_MS = 24 * 3600_000;
/** What clocks of servers may differ. */
const BACK_MS = 3600_000;
const KEY = 'clock_seen';
const DOUBT = 'clock_doubt';

export class ClockWatch {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Notes the time; what is wrong with it, in words, until somebody trusts it. */
  async doubt(now = Date.now()): Promise<string | undefined> {
    const seen = Number((await readMeta(this.#database, KEY)) ?? now);
    const jump = now - seen;
    if (jump > MOST_MS || jump < -BACK_MS) {
      const days = Math.abs(jump / MOST_MS).toFixed(1);
      const text = `${jump > 0 ? 'nothing was noted for' : 'the clock went back by'} ${days} days: what looks unused may not be`;
      await writeMeta(this.#database, DOUBT, text);
    }
    await writeMeta(this.#database, KEY, String(now));
    return this.known();
  }

  /** What was found wrong with it, and nobody has said that it is not. */
  async known(): Promise<string | undefined> {
    return (await readMeta(this.#database, DOUBT)) || undefined;
  }

  /** A person has looked. */
  trust(): Promise<void> {
    return writeMeta(this.#database, DOUBT, '');
  }
}
