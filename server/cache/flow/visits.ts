/** Who is inside: whoever closes waits until all have left. */

/** Waits for `work`, but no longer than `ms`. */
export async function within(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}

export class Visits {
  #count = 0;
  #idle: (() => void) | undefined;

  /** Counts somebody in; the function that it returns counts them out. */
  enter(): () => void {
    this.#count++;
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      if (--this.#count === 0) this.#idle?.();
    };
  }

  /** Waits until nobody is inside, at most `ms`. */
  async ended(ms: number): Promise<void> {
    if (this.#count === 0) return;
    const idle = new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
    await within(idle, ms);
  }
}
