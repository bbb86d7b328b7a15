/** How far the draining of a storage has come, and what stops it. */
import { StorageFullError, StorageUnavailableError } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';

/** Why nothing is moved now. */
export type PauseReason = 'NoSpace' | 'Unavailable' | 'Failed';

export interface DrainProgress {
  readonly movedObjects: number;
  readonly movedBytes: number;
  /** Over the last seconds. */
  readonly bytesPerSecond: number;
  /** Objects that cannot be moved, because their bytes are gone or wrong. */
  readonly failedObjects: number;
  /** Undefined: it goes on. */
  readonly reason: PauseReason | undefined;
  readonly lastError: string | undefined;
}

/** What an error means for everything that is still to be moved. */
export function reasonOf(error: unknown): PauseReason {
  if (error instanceof StorageFullError) return 'NoSpace';
  if (error instanceof StorageUnavailableError) return 'Unavailable';
  if (error instanceof CacheError && (error.code === 'NoSpace' || error.code === 'Unavailable')) return error.code;
  return 'Failed';
}

const WINDOW_SECONDS = 10;

/** Bytes a second over the last ten seconds. */
export class Throughput {
  readonly #now: () => number;
  readonly #bytes = new Array<number>(WINDOW_SECONDS).fill(0);
  readonly #begun: number;
  #second: number;

  /** @param now milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#begun = now();
    this.#second = Math.floor(this.#begun / 1000);
  }

  add(bytes: number): void {
    this.#advance();
    const at = this.#second % WINDOW_SECONDS;
    this.#bytes[at] = (this.#bytes[at] ?? 0) + bytes;
  }

  get perSecond(): number {
    this.#advance();
    const seconds = Math.min(WINDOW_SECONDS, Math.max(1, (this.#now() - this.#begun) / 1000));
    return Math.round(this.#bytes.reduce((sum, bytes) => sum + bytes, 0) / seconds);
  }

  #advance(): void {
    const second = Math.floor(this.#now() / 1000);
    for (let at = Math.max(this.#second + 1, second - WINDOW_SECONDS + 1); at <= second; at++)
      this.#bytes[at % WINDOW_SECONDS] = 0;
    this.#second = second;
  }
}
