/**
 * Group commit. All writes go through one queue: those that wait while a commit runs share the next one, so a disk
 * that syncs 500 times a second takes thousands of writes a second, and nothing is ever "locked".
 */
import type { Sql, Statement } from './sql.ts';

/**
 * What an acknowledged write survives: `disk` the loss of power, `process` only the end of the process, however it
 * ends. Nothing that a client takes for published may be less than `disk`.
 */
export type Durability = 'disk' | 'process';

/** Must be safe to run again: a batch that fails is repeated write by write. */
export type Write<T> = (sql: Sql) => Promise<T>;

export interface WriterInit {
  /** Runs `work` in one transaction, durable when the promise resolves. */
  readonly transaction: <T>(work: (sql: Sql) => Promise<T>) => Promise<T>;
  /** Runs the statements in one transaction and one trip; what `durability` promises holds when the promise resolves. */
  readonly script: (statements: readonly Statement[], durability: Durability) => Promise<void>;
  /** Most writes in one transaction. */
  readonly maxBatch?: number;
  /** Hears how long each transaction took and how many writes it held. */
  readonly onCommit?: (milliseconds: number, writes: number) => void;
}

interface Queued {
  /** Statements that need no look at the database in between; undefined: only `run` knows. */
  readonly statements: readonly Statement[] | undefined;
  readonly durability: Durability;
  run(sql: Sql): Promise<void>;
  settle(): void;
  fail(error: unknown): void;
}

export class Writer {
  readonly #init: WriterInit;
  readonly #queue: Queued[] = [];
  #running: Promise<void> | undefined;

  constructor(init: WriterInit) {
    this.#init = init;
  }

  /** Writes that wait now. */
  get length(): number {
    return this.#queue.length;
  }

  /** Resolves with what `write` returned, once that is durable. */
  write<T>(write: Write<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: { value: T } | undefined;
      this.#push({
        statements: undefined,
        durability: 'disk',
        run: async (sql) => {
          result = { value: await write(sql) };
        },
        settle: () => (result === undefined ? reject(new Error('write was not run')) : resolve(result.value)),
        fail: reject,
      });
    });
  }

  /** Like `write`, for statements that are all known now: batches of such writes cost one trip altogether. */
  script(statements: readonly Statement[], durability: Durability = 'disk'): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#push({ statements, durability, run: (sql) => sql.run(statements), settle: resolve, fail: reject });
    });
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#running ??= this.#drain();
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Never rejects: each write hears of its own failure, and the writes after it go on. */
  async #drain(): Promise<void> {
    // A turn of the event loop first: what arrived in the same tick shares the transaction.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, this.#init.maxBatch ?? 256);
      if (!(await this.#commit(batch)) && batch.length > 1) for (const one of batch) await this.#commit([one], true);
    }
    this.#running = undefined;
  }

  /** Whether the batch was settled. One bad write must not fail its neighbours, so only a single one is rejected. */
  async #commit(batch: Queued[], alone = batch.length === 1): Promise<boolean> {
    const start = performance.now();
    try {
      const scripts = batch.flatMap((one) => (one.statements === undefined ? [] : [one.statements]));
      if (scripts.length === batch.length) {
        const isDurable = batch.some((one) => one.durability === 'disk');
        await this.#init.script(scripts.flat(), isDurable ? 'disk' : 'process');
      } else {
        await this.#init.transaction(async (sql) => {
          for (const one of batch) await one.run(sql);
        });
      }
    } catch (error) {
      if (alone) for (const one of batch) one.fail(error);
      return false;
    }
    for (const one of batch) one.settle();
    try {
      this.#init.onCommit?.(performance.now() - start, batch.length);
    } catch {
      // Who only watches must not stop the writes.
    }
    return true;
  }
}
