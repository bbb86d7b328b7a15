/**
 * Whether a cache's servers can be connected to. After some failures in a row nobody tries for a while, so that clients
 * hear at once what they would hear after a timeout; then one request tries for all.
 */

/** Failures in a row that open it. One alone is a pod that has just gone, and the next try finds another. */
const FAILURES = 3;
const FIRST_REST_MS = 1000;
const LONGEST_REST_MS = 8000;

export type CircuitState = 'closed' | 'open' | 'half-open';

/** One try to connect. How it went is told once. */
export interface Attempt {
  succeeded(): void;
  failed(): void;
  /** Nobody waited for its end. */
  dropped(): void;
}

export class Circuit {
  readonly #onChange: (state: CircuitState) => void;
  #failures = 0;
  #restMs = FIRST_REST_MS;
  #openUntil = 0;
  #probing = false;
  #waiting: (() => void)[] = [];

  constructor(onChange: (state: CircuitState) => void = () => {}) {
    this.#onChange = onChange;
  }

  get state(): CircuitState {
    if (this.#failures < FAILURES) return 'closed';
    return performance.now() < this.#openUntil ? 'open' : 'half-open';
  }

  /** Undefined: now is no time to try. */
  admit(): Attempt | undefined {
    const { state } = this;
    if (state === 'open' || (state === 'half-open' && this.#probing)) return undefined;
    const isProbe = state === 'half-open';
    if (isProbe) this.#probing = true;
    let isOver = false;
    const end = (then: () => void) => () => {
      if (isOver) return;
      isOver = true;
      if (isProbe) this.#probing = false;
      then();
      this.#wake();
    };
    return {
      succeeded: end(() => this.#close()),
      failed: end(() => this.#fail(isProbe)),
      dropped: end(() => {}),
    };
  }

  /** Resolves when it may be worth to ask again. */
  async changed(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      const restMs = this.#openUntil - performance.now();
      if (restMs > 0) setTimeout(() => this.#wake(), restMs).unref();
    });
  }

  #close(): void {
    const wasClosed = this.state === 'closed';
    this.#failures = 0;
    this.#restMs = FIRST_REST_MS;
    if (!wasClosed) this.#onChange('closed');
  }

  #fail(isProbe: boolean): void {
    // Those that began before it opened say nothing new.
    if (!isProbe && this.#failures >= FAILURES) return;
    this.#failures++;
    if (this.#failures < FAILURES) return;
    this.#openUntil = performance.now() + this.#restMs;
    this.#restMs = Math.min(LONGEST_REST_MS, this.#restMs * 2);
    if (!isProbe) this.#onChange('open');
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
