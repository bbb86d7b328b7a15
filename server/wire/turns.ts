/** At most so many at one time; the others wait, the first that came first. */
export class Turns {
  readonly #max: number;
  readonly #waiting: (() => void)[] = [];
  #active = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get active(): number {
    return this.#active;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Resolves when it is one's turn; the function ends it, and may be called more than once. */
  async take(): Promise<() => void> {
    if (this.#active < this.#max) this.#active++;
    // Whoever ends a turn hands it on, so the count stays.
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let mine = true;
    return () => {
      if (!mine) return;
      mine = false;
      const next = this.#waiting.shift();
      if (next === undefined) this.#active--;
      else next();
    };
  }
}
