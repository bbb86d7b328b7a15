/**
 * The hash parts of all published paths, loaded in the background. Where this process is the only writer its answers
 * are final once it is loaded; until then the database is asked.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import type { Database } from '../metadata/index.ts';
import { HashSet } from './hash-set.ts';

const PAGE = 20_000;

export class AllPaths {
  readonly #database: Database;
  readonly #set = new HashSet();
  #loaded = false;
  /** Taken out while the set is loaded: a page that was read before may bring them back. */
  #removed = new Set<string>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** Paths that are known to memory; complete once `loaded`. */
  get size(): number {
    return this.#set.size;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  /** Whether it is known to be there. */
  has(hashPart: string): boolean {
    return this.#set.has(hashPart);
  }

  /** Whether it is known not to be there. */
  lacks(hashPart: string): boolean {
    return this.#loaded && !this.#set.has(hashPart);
  }

  add(hashPart: string): void {
    this.#set.add(hashPart);
    this.#removed.delete(hashPart);
  }

  remove(hashPart: string): void {
    this.#set.remove(hashPart);
    if (!this.#loaded) this.#removed.add(hashPart);
  }

  /** Reads all hash parts, page by page: a million take about a second and never block a request for long. */
  async load(signal: AbortSignal): Promise<void> {
    for (let after = ''; !signal.aborted; ) {
      // One long text a page: rows as objects would cost four times the memory and time.
      const rows = await this.#database.query<{ hashes: string | null; last: string | null }>(
        `SELECT group_concat(hash_part, '') AS hashes, max(hash_part) AS last
         FROM (SELECT hash_part FROM paths WHERE hash_part > ? ORDER BY hash_part LIMIT ${PAGE})`,
        [after],
      );
      const { hashes, last } = rows[0] ?? { hashes: null, last: null };
      if (hashes === null || last === null) {
        for (const hashPart of this.#removed) this.#set.remove(hashPart);
        this.#removed.clear();
        this.#loaded = true;
        return;
      }
      for (let offset = 0; offset < hashes.length; offset += 32) this.#set.add(hashes, offset);
      after = last;
      await breathe();
    }
  }

  /** After a commit that failed: what memory says must not differ from the rows. */
  async lookAgain(hashPart: string): Promise<void> {
    const rows = await this.#database
      .query('SELECT 1 FROM paths WHERE hash_part = ?', [hashPart])
      .catch(() => undefined);
    if (rows === undefined) this.#loaded = false;
    else if (rows.length > 0) this.#set.add(hashPart);
  }
}
