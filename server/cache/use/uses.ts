/**
 * Which paths are used, for those who decide what a cache keeps. A use costs a read nothing but a note in memory; notes are
 * written every few seconds. What a crash loses is at most that interval.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import type { Settings } from '../settings.ts';
import { sweepUses, useStatement } from './rows.ts';

export interface UsesInit {
  readonly database: Database;
  readonly settings: Pick<Settings, 'useFlushMs'>;
  readonly logger: Logger;
}

/** Most notes in memory. Beyond it uses are dropped, while the database is away. */
const MOST_NOTES = 65_536;
/** So many do not wait for their time. */
const MANY_NOTES = MOST_NOTES / 2;
/** Notes of one statement, which writes of clients may wait for: 20 ms where all is to be read from the disk. */
const BATCH = 1000;
/** What stays in memory is noted again after that long. Shorter than what rows are written by, since the two add up. */
const NOTE_EVERY_MINUTES = 10;
const MINUTE_MS = 60_000;

/** Something in memory that is used again and again, and the minute in which that was noted last; 0: never. */
export interface Marked {
  notedIn?: number;
}

export class Uses {
  readonly #init: UsesInit;
  #hashParts = new Set<string>();
  /** Minutes since 1970, at the last tick: asking for the time would cost a read more than all the rest. */
  #minute = 0;
  /** Ids of objects: paths that point at them are used too, and are found when they are written. */
  #objects = new Set<number>();
  #dropped = 0;
  #onWritten: (hashParts: readonly string[]) => Promise<unknown> = async () => {};
  #timer: NodeJS.Timeout | undefined;
  /** Writes, one after the other. */
  #writing: Promise<void> = Promise.resolve();
  #isFlushing = false;
  #isFailing = false;
  /** Where the look for rows of paths that are gone goes on. */
  #position = '';

  constructor(init: UsesInit) {
    this.#init = init;
    this.#lookAtClock();
  }

  /** Uses that found no room in memory. */
  get dropped(): number {
    return this.#dropped;
  }

  /** @param onWritten what is to be done for paths that were used: some may have been taken away meanwhile */
  follow(onWritten: (hashParts: readonly string[]) => Promise<unknown>): void {
    this.#onWritten = onWritten;
  }

  start(): void {
    const tick = () => {
      this.#lookAtClock();
      this.#flushSoon();
    };
    this.#timer = setInterval(tick, this.#init.settings.useFlushMs).unref();
  }

  #lookAtClock(): void {
    this.#minute = Math.floor(Date.now() / MINUTE_MS);
  }

  /** Whether a use of something that stays in memory is to be noted; it is taken for noted from then on. */
  isDue(marked: Marked): boolean {
    const { notedIn = 0 } = marked;
    // A clock that went back must not keep uses from being noted.
    if (Math.abs(this.#minute - notedIn) < NOTE_EVERY_MINUTES) return false;
    marked.notedIn = this.#minute;
    return true;
  }

  /** A path is used. @param hashPart a text of its own: no part of a long one, which would stay in memory with it */
  touch(hashPart: string): void {
    this.#note(this.#hashParts, hashPart);
  }

  touchAll(hashParts: Iterable<string>): void {
    for (const hashPart of hashParts) this.touch(hashPart);
  }

  /** All paths are used whose NAR is this object. */
  touchNar(objectId: number): void {
    this.#note(this.#objects, objectId);
  }

  #note<T>(notes: Set<T>, note: T): void {
    if (notes.has(note)) return;
    if (this.#size >= MOST_NOTES) {
      this.#dropped++;
      return;
    }
    notes.add(note);
    // Where the database is away, the next tick is soon enough.
    if (this.#size >= MANY_NOTES && !this.#isFailing) this.#flushSoon();
  }

  get #size(): number {
    return this.#hashParts.size + this.#objects.size;
  }

  #flushSoon(): void {
    if (this.#isFlushing || this.#size === 0) return;
    this.#isFlushing = true;
    this.flush()
      // It was logged, and the next tick tries again.
      .catch(() => {})
      .finally(() => {
        this.#isFlushing = false;
      });
  }

  /** Resolves when all that was used before the call is written. */
  flush(): Promise<void> {
    this.#lookAtClock();
    const writing = this.#writing.then(() => this.#write());
    this.#writing = writing.catch(() => {});
    return writing;
  }

  async #write(): Promise<void> {
    const { database } = this.#init;
    const [hashParts, objects] = [[...this.#hashParts], [...this.#objects]];
    this.#hashParts = new Set();
    this.#objects = new Set();
    while (hashParts.length + objects.length > 0) {
      const batch = { hashParts: hashParts.slice(-BATCH), objects: objects.slice(-BATCH), now: Date.now() };
      try {
        await database.script([useStatement(database, batch)], 'process');
        await this.#onWritten(batch.hashParts);
      } catch (error) {
        if (!this.#isFailing)
          this.#init.logger.warn({ err: error }, 'uses of paths could not be written; it will be tried again');
        this.#isFailing = true;
        this.touchAll(hashParts);
        for (const object of objects) this.touchNar(object);
        throw error;
      }
      hashParts.splice(-BATCH);
      objects.splice(-BATCH);
    }
    this.#isFailing = false;
  }

  /** Removes rows of paths that are gone: some with each call. */
  async sweep(): Promise<void> {
    this.#position = await sweepUses(this.#init.database, this.#position);
  }

  /** Writes what is noted, if the database takes it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush().catch(() => {});
  }
}
