import { CacheError } from '../cache/index.ts';
import type { Moving } from '../shares/index.ts';

export interface PaceLimits {
  /** Bytes a second. */
  readonly leastRate: number;
  /** Time over which that is looked at. */
  readonly overMs: number;
}

/** How fast a body comes. Only the time counts in which its client is waited for: a slow disk of ours is not its fault. */
export class Pace implements Moving {
  readonly #limits: PaceLimits;
  readonly #revoke: () => void;
  #bytes = 0;
  #waitsSince: number | undefined;
  /** Of the stretch that is looked at. */
  #waitedMs = 0;
  #came = 0;
  /** The answer, once the body is over. */
  #answer: Moving | undefined;

  constructor(limits: PaceLimits, revoke: () => void) {
    this.#limits = limits;
    this.#revoke = revoke;
  }

  /** From now on the next piece is waited for. */
  waits(): void {
    this.#waitsSince = performance.now();
  }

  /** It is there. @throws CacheError TimedOut where what came lately is too little for the time that it took */
  came(bytes: number): void {
    this.#waitedMs += this.#waitsSince === undefined ? 0 : performance.now() - this.#waitsSince;
    this.#waitsSince = undefined;
    this.#bytes += bytes;
    this.#came += bytes;
    const { leastRate, overMs } = this.#limits;
    if (this.#waitedMs < overMs) return;
    if (this.#came < (leastRate * this.#waitedMs) / 1000)
      throw new CacheError('TimedOut', `the body comes too slowly: fewer than ${leastRate} bytes a second`);
    this.#waitedMs = 0;
    this.#came = 0;
  }

  /** Nothing more of it is waited for: what is held on goes with our own work, and then with the answer. */
  ends(answer: Moving): void {
    this.#waitsSince = undefined;
    this.#answer = answer;
  }

  progress(): number | undefined {
    if (this.#answer === undefined) return this.#waitsSince === undefined ? undefined : this.#bytes;
    const left = this.#answer.progress();
    return left === undefined ? undefined : this.#bytes + left;
  }

  revoke(): void {
    if (this.#answer === undefined) this.#revoke();
    else this.#answer.revoke();
  }
}
