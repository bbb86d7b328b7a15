/** Bytes a second, over all who take some. Nobody saves up: after a pause work begins at the rate, not with a burst. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface RateLimitInit {
  /** Asked each time, since a manifest may change it; undefined: no limit. */
  readonly bytesPerSecond: () => number | undefined;
  /** Milliseconds; a clock that only goes forward. */
  readonly now?: () => number;
  readonly wait?: (ms: number, signal: AbortSignal) => Promise<void>;
}

export class RateLimit {
  readonly #init: RateLimitInit;
  #freeAt = 0;

  constructor(init: RateLimitInit) {
    this.#init = init;
  }

  /** Resolves when `bytes` more may be read. @throws AbortError */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const rate = this.#init.bytesPerSecond();
    if (rate === undefined) return;
    const now = (this.#init.now ?? (() => performance.now()))();
    const start = Math.max(now, this.#freeAt);
    this.#freeAt = start + (bytes / rate) * 1000;
    if (start > now) await (this.#init.wait ?? wait)(start - now, signal);
  }
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal });
}
