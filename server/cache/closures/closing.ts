/**
 * When a path stops being servable, all that refer to it wait, and all that refer to those. No index leads from a path to
 * its referrers: ten rows a path would cost more than all the rest. This reads all references, again and again until nothing
 * new is found. What is kept in memory are the hash parts that have just stopped; `closing` has them too, so that a server
 * that dies here leaves only more to do.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '../../metadata/index.ts';
import { HashSet } from '../../nix/index.ts';
import { referringTo } from './referrers.ts';
import { inParts, type Referring } from './rows.ts';

export interface ClosingInit {
  readonly database: Database;
  /** Has those of the paths wait that lack something: those that do so from now on. */
  readonly note: (paths: readonly Referring[]) => Promise<readonly string[]>;
}

/** Most rows of `closing` that one statement takes. */
const TAKEN = 10_000;

export class Closing {
  readonly #init: ClosingInit;
  #pass = 0;

  constructor(init: ClosingInit) {
    this.#init = init;
  }

  /** Looks for referrers until there are none that do not wait. @throws AbortError */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      const start = performance.now();
      // Whoever closes a path again while we look undoes that it was taken.
      this.#pass = Math.max(this.#pass + 1, Date.now());
      const closed = await this.#take();
      if (closed.size === 0) return;
      await this.#scan(closed, signal);
      await this.#init.database.script(
        [['DELETE FROM closing WHERE taken = CAST(? AS bigint)', this.#pass]],
        'process',
      );
      // Half of the time at most, however much is lost.
      await sleep(performance.now() - start, undefined, { signal, ref: false });
    }
  }

  async #take(): Promise<HashSet> {
    const { database } = this.#init;
    const closed = new HashSet();
    for (;;) {
      const rows = await database.write((sql) =>
        sql.query<{ hash_part: string }>(
          `UPDATE closing SET taken = CAST(? AS bigint) WHERE hash_part IN
             (SELECT hash_part FROM closing WHERE taken <> CAST(? AS bigint) LIMIT ${TAKEN}) RETURNING hash_part`,
          [this.#pass, this.#pass],
        ),
      );
      for (const { hash_part: hashPart } of rows) closed.add(hashPart);
      if (rows.length < TAKEN) return closed;
    }
  }

  /** One look at all references. Those that are found on the way are looked for too from there on. */
  async #scan(closed: HashSet, signal: AbortSignal): Promise<void> {
    const { database, note } = this.#init;
    for await (const referring of referringTo(database, closed, signal))
      for (const some of inParts(referring)) for (const hashPart of await note(some)) closed.add(hashPart);
  }
}
