/** Pauses between attempts: short at first, then longer, never the same for two who wait for the same thing. */
import { setTimeout as delay } from 'node:timers/promises';

export class Pauses {
  readonly #longestMs: number;
  #nextMs: number;

  constructor(firstMs = 50, longestMs = 2_000) {
    this.#nextMs = firstMs;
    this.#longestMs = longestMs;
  }

  /** Length of the next pause, before it is spread. */
  get nextMs(): number {
    return this.#nextMs;
  }

  async pause(signal?: AbortSignal): Promise<void> {
    const ms = this.#nextMs * (0.5 + Math.random());
    this.#nextMs = Math.min(2 * this.#nextMs, this.#longestMs);
    await delay(ms, undefined, { ...(signal && { signal }) }).catch((error: unknown) => {
      if (signal?.aborted !== true) throw error;
    });
  }
}
