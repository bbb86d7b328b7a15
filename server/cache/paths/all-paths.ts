/**
 * The hash parts of all published paths but those whose NAR is lost, loaded in the background: what need not be pushed.
 * Where this process is the only writer its answers are final once it is loaded (10 000 hashes against a million paths: a
 * few milliseconds); until then the database is asked. Whether readers get a path is for its closure to say.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import type { Database } from '../../metadata/index.ts';
import { HashSet } from '../../nix/index.ts';
import { IS_LOST, LOST_PATHS_QUERY } from '../objects/index.ts';

const PAGE = 20_000;

export class AllPaths {
  readonly #database: Database;
  readonly #set = new HashSet();
  #loaded = false;
  /** What changed while the set is loaded, and whether it is there now: that counts more than a page that was read. */
  #changed = new Map<string, boolean>();

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
    if (!this.#loaded) this.#changed.set(hashPart, true);
  }

  remove(hashPart: string): void {
    this.#set.remove(hashPart);
    if (!this.#loaded) this.#changed.set(hashPart, false);
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
        await this.#finish();
        return;
      }
      for (let offset = 0; offset < hashes.length; offset += 32) this.#set.add(hashes, offset);
      after = last;
      await breathe();
    }
  }

  async #finish(): Promise<void> {
    const lost = await this.#database.query<{ hash_part: string }>(LOST_PATHS_QUERY);
    for (const { hash_part: hashPart } of lost) if (!this.#changed.get(hashPart)) this.#set.remove(hashPart);
    for (const [hashPart, isThere] of this.#changed) if (!isThere) this.#set.remove(hashPart);
    this.#changed.clear();
    this.#loaded = true;
  }

  /** After a commit that failed: what memory says must not differ from the rows. */
  lookAgain(hashPart: string): Promise<void> {
    return this.#lookAgain('p.hash_part = ?', hashPart);
  }

  /** The same for all paths of an object. */
  lookAgainAt(key: string): Promise<void> {
    return this.#lookAgain('p.object_id = (SELECT id FROM objects WHERE key = ?)', key);
  }

  async #lookAgain(condition: string, value: string): Promise<void> {
    const rows = await this.#database
      .query<{ hash_part: string; is_lost: number }>(
        `SELECT p.hash_part, ${IS_LOST} AS is_lost FROM paths p WHERE ${condition}`,
        [value],
      )
      .catch(() => undefined);
    if (rows === undefined) this.#loaded = false;
    for (const { hash_part: hashPart, is_lost: isLost } of rows ?? [])
      if (isLost) this.remove(hashPart);
      else this.add(hashPart);
  }
}
