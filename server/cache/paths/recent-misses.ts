/**
 * Paths that were missing a moment ago, where servers share a database: a client that asks for the same path again and
 * again costs one query a second. No longer, since what another server publishes must be served within a second even
 * where nothing is heard of it.
 */
import { LRUCache } from 'lru-cache';

const MOST = 100_000;
const KEEP_MS = 1_000;

export class RecentMisses {
  /** When the look-up began, by the clock of `performance`. */
  readonly #since = new LRUCache<string, number>({ max: MOST });

  has(hashPart: string, now = performance.now()): boolean {
    const since = this.#since.get(hashPart);
    return since !== undefined && now - since < KEEP_MS;
  }

  /** @param since when the look-up began: what it did not see may have been published right after */
  add(hashPart: string, since: number): void {
    this.#since.set(hashPart, since);
  }

  delete(hashPart: string): void {
    this.#since.delete(hashPart);
  }

  clear(): void {
    this.#since.clear();
  }
}
