/**
 * Remembers what was done again and again, because somebody else undoes it: such a fight must not become a loop of
 * writes. The first times nothing waits; then each deed waits twice as long as the one before, until there is peace.
 */
import { type Backoff, backoffMs } from './backoff.ts';

export interface ContestsInit {
  /** How often something may be done at once. Default 3. */
  readonly free?: number;
  /** Between deeds from then on; default 1 s to 5 min. */
  readonly backoff?: Backoff;
  /** Milliseconds that only grow; for tests. */
  readonly clock?: () => number;
}

interface Deed {
  times: number;
  /** When it was done last. */
  at: number;
  /** How long the next one waits after that. */
  waitMs: number;
  version: string;
  note: string;
}

/** Peace is silence for this many of the shortest wait, or twice the last one. */
const PEACE = 5;

export class Contests {
  readonly #free: number;
  readonly #backoff: Backoff;
  readonly #clock: () => number;
  /** By who does it, and what it is. */
  readonly #deeds = new Map<string, Map<string, Deed>>();

  constructor({
    free = 3,
    backoff = { baseMs: 1000, maxMs: 300_000 },
    clock = () => performance.now(),
  }: ContestsInit = {}) {
    this.#free = free;
    this.#backoff = backoff;
    this.#clock = clock;
  }

  /** How long the deed has to wait now; 0: not at all. */
  holdMs(owner: string, deed: string): number {
    const known = this.#recent(owner).get(deed);
    return known === undefined ? 0 : Math.max(0, known.at + known.waitMs - this.#clock());
  }

  /**
   * It was done.
   * @param version of what came of it: the same again means that nobody has undone it, and it does not count
   * @param note why, for people
   */
  done(owner: string, deed: string, version: string, note: string): void {
    const deeds = this.#recent(owner);
    const known = deeds.get(deed);
    if (known?.version === version) return;
    const times = (known?.times ?? 0) + 1;
    const waitMs = times < this.#free ? 0 : backoffMs(this.#backoff, times - this.#free + 1);
    deeds.set(deed, { times, at: this.#clock(), waitMs, version, note });
    this.#deeds.set(owner, deeds);
  }

  /** Notes of what has been done more often than is free, and is not at peace yet. */
  notes(owner: string): string[] {
    return [...this.#recent(owner).values()].filter(({ times }) => times > this.#free).map(({ note }) => note);
  }

  forget(owner: string): void {
    this.#deeds.delete(owner);
  }

  #recent(owner: string): Map<string, Deed> {
    const deeds = this.#deeds.get(owner) ?? new Map<string, Deed>();
    const now = this.#clock();
    for (const [deed, { at, waitMs }] of deeds)
      if (now - at > Math.max(PEACE * this.#backoff.baseMs, 2 * waitMs)) deeds.delete(deed);
    if (deeds.size === 0) this.#deeds.delete(owner);
    return deeds;
  }
}
