/**
 * Keys that wait to be worked on. A key waits once however often it is added, is worked on by one worker at a time, and
 * comes back if it was added meanwhile. Namespaces take turns: whoever has thousands of keys in one is late with those alone.
 */
import { type Backoff, backoffMs } from './backoff.ts';

export interface WorkQueueInit {
  /** Between retries of a key; default 1 s to 5 min. */
  readonly backoff?: Backoff;
  /** Between 0 and 1; for tests. */
  readonly random?: () => number;
}

interface Delayed {
  readonly timer: NodeJS.Timeout;
  readonly at: number;
}

/** setTimeout takes no more. */
const MOST_DELAY_MS = 2 ** 31 - 1;

export class WorkQueue {
  readonly #backoff: Backoff;
  readonly #random: () => number;
  /** In order of arrival, with the time of it. */
  readonly #ready = new Map<string, number>();
  /** The same keys by namespace, in the order of their turns. */
  readonly #lanes = new Map<string, Set<string>>();
  readonly #active = new Set<string>();
  /** Active, and added again, with the time of it. */
  readonly #dirty = new Map<string, number>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #failures = new Map<string, number>();
  /** Workers that wait, by how to wake them. */
  readonly #idle = new Set<() => void>();
  #isShut = false;

  constructor({ backoff = { baseMs: 1000, maxMs: 300_000 }, random = Math.random }: WorkQueueInit = {}) {
    this.#backoff = backoff;
    this.#random = random;
  }

  /** How many keys wait for a worker now. */
  get depth(): number {
    return this.#ready.size;
  }

  /** How long the oldest of them has waited. */
  get oldestMs(): number {
    const [oldest] = this.#ready.values();
    return oldest === undefined ? 0 : performance.now() - oldest;
  }

  /** As soon as possible; a later time that was set for the key is forgotten. */
  add(key: string): void {
    if (this.#isShut) return;
    this.#undelay(key);
    if (this.#active.has(key)) {
      if (!this.#dirty.has(key)) this.#dirty.set(key, performance.now());
      return;
    }
    if (!this.#ready.has(key)) {
      this.#ready.set(key, performance.now());
      const lane = laneOf(key);
      this.#lanes.set(lane, (this.#lanes.get(lane) ?? new Set()).add(key));
    }
    const [wake] = this.#idle;
    wake?.();
  }

  /** After a time; the earliest of several holds. */
  addAfter(key: string, ms: number): void {
    if (this.#isShut || this.#ready.has(key) || this.#dirty.has(key)) return;
    const at = performance.now() + ms;
    const known = this.#delayed.get(key);
    if (known !== undefined && known.at <= at) return;
    this.#undelay(key);
    const timer = setTimeout(() => this.add(key), Math.min(Math.max(ms, 0), MOST_DELAY_MS));
    this.#delayed.set(key, { timer, at });
  }

  /** After a time that doubles with each failure in a row, and not before `atLeastMs`. Returns that time. */
  retry(key: string, atLeastMs = 0): number {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    const ms = backoffMs(this.#backoff, failures, atLeastMs, this.#random);
    this.addAfter(key, ms);
    return ms;
  }

  /** The key's failures no longer count. */
  forget(key: string): void {
    this.#failures.delete(key);
  }

  /** The next key, once there is one; undefined once the queue or the signal ends. To be followed by `done`. */
  async next(signal?: AbortSignal): Promise<string | undefined> {
    while (!this.#isShut && !signal?.aborted) {
      const key = this.#take();
      if (key !== undefined) {
        this.#ready.delete(key);
        this.#active.add(key);
        return key;
      }
      await this.#wait(signal);
    }
    return undefined;
  }

  /** The work on the key is over, well or not. */
  done(key: string): void {
    this.#active.delete(key);
    const since = this.#dirty.get(key);
    if (since === undefined) return;
    this.#dirty.delete(key);
    this.add(key);
  }

  /** Nothing comes any more; workers that wait are told so. */
  shutDown(): void {
    this.#isShut = true;
    for (const { timer } of this.#delayed.values()) clearTimeout(timer);
    this.#delayed.clear();
    this.#ready.clear();
    this.#lanes.clear();
    this.#dirty.clear();
    for (const wake of [...this.#idle]) wake();
  }

  /** The oldest key of the namespace whose turn it is. */
  #take(): string | undefined {
    const [[lane, keys] = []] = this.#lanes;
    const [key] = keys ?? [];
    if (lane === undefined || keys === undefined || key === undefined) return undefined;
    keys.delete(key);
    this.#lanes.delete(lane);
    if (keys.size > 0) this.#lanes.set(lane, keys);
    return key;
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#idle.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#idle.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }

  #undelay(key: string): void {
    const known = this.#delayed.get(key);
    if (known === undefined) return;
    clearTimeout(known.timer);
    this.#delayed.delete(key);
  }
}

/** The namespace of `namespace/name`. */
const laneOf = (key: string): string => key.slice(0, Math.max(0, key.indexOf('/')));
