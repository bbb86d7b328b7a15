/**
 * Group commit. All writes go through one queue: those that wait while a commit runs share the next one, so a disk
 * that syncs 500 times a second takes thousands of writes a second, and nothing is ever "locked".
 */
import { Pauses } from './retry.ts';
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
  /** For a database that can be away for a while; absent: every failure is final. */
  readonly patience?: Patience;
}

/** Which failures of a transaction are waited for, and how long. */
export interface Patience {
  /** How long each write is tried, counted from when it was asked for. */
  readonly ms: number;
  /** Whether the same transaction may succeed later. It may have been committed all the same. */
  isPassing(error: unknown): boolean;
  /** Whether it failed because of other transactions: smaller ones may not. */
  isConflict(error: unknown): boolean;
  /** What a write fails with that was tried for too long. */
  giveUp(error: unknown): Error;
  /** Hears of each attempt that failed and is made again. */
  onRetry(error: unknown): void;
}

interface Queued {
  /** Statements that need no look at the database in between; undefined: only `run` knows. */
  readonly statements: readonly Statement[] | undefined;
  readonly durability: Durability;
  /** By the clock of `performance`. */
  readonly since: number;
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

  /** Whether nothing waits and nothing runs. */
  get isIdle(): boolean {
    return this.#running === undefined;
  }

  /** Resolves with what `write` returned, once that is durable. */
  write<T>(write: Write<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      let result: { value: T } | undefined;
      this.#push({
        statements: undefined,
        durability: 'disk',
        since: performance.now(),
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
      const run = (sql: Sql) => sql.run(statements);
      this.#push({ statements, durability, since: performance.now(), run, settle: resolve, fail: reject });
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
  async #commit(all: Queued[], alone = all.length === 1): Promise<boolean> {
    const { patience, onCommit } = this.#init;
    const pauses = new Pauses();
    let batch = all;
    let start = performance.now();
    for (;;) {
      try {
        start = performance.now();
        await this.#run(batch);
        break;
      } catch (error) {
        if (patience?.isPassing(error) && (alone || !patience.isConflict(error))) {
          batch = dropLate(batch, patience, pauses.nextMs, error);
          if (batch.length === 0) return true;
          patience.onRetry(error);
          await pauses.pause();
          continue;
        }
        if (alone) for (const one of batch) one.fail(error);
        return false;
      }
    }
    for (const one of batch) one.settle();
    try {
      onCommit?.(performance.now() - start, batch.length);
    } catch {
      // Who only watches must not stop the writes.
    }
    return true;
  }

  #run(batch: readonly Queued[]): Promise<void> {
    const scripts = batch.flatMap((one) => (one.statements === undefined ? [] : [one.statements]));
    if (scripts.length === batch.length) {
      const isDurable = batch.some((one) => one.durability === 'disk');
      return this.#init.script(scripts.flat(), isDurable ? 'disk' : 'process');
    }
    return this.#init.transaction(async (sql) => {
      for (const one of batch) await one.run(sql);
    });
  }
}

/** Fails the writes that have been tried for too long; those that may be tried once more. */
function dropLate(batch: readonly Queued[], patience: Patience, pauseMs: number, error: unknown): Queued[] {
  const latest = performance.now() + pauseMs - patience.ms;
  for (const one of batch) if (one.since < latest) one.fail(patience.giveUp(error));
  return batch.filter((one) => one.since >= latest);
}
