/**
 * Empties one storage, in rounds: each moves whatever can be moved to where the strategy says. What stops a round is
 * remembered, shown and tried again; one object that cannot be moved stops none of the others.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { StorageFullError, StorageUnavailableError } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import type { Uploads } from '../push/index.ts';
import type { Settings } from '../settings.ts';
import type { Storages } from '../storages/index.ts';
import { BadObjectError, type Movable, type Mover, movablesIn } from './mover.ts';
import { type DrainProgress, type PauseReason, reasonOf, Throughput } from './progress.ts';
import { sideBySide } from './side-by-side.ts';

export interface DrainInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly uploads: Uploads;
  readonly mover: Mover;
  readonly settings: Settings;
  readonly logger: Logger;
  /** Hears of each object that was moved out of a storage. */
  readonly onMoved: (storage: string, bytes: number) => void;
}

/** An object whose bytes are wrong is not read over and over. */
const BAD_RETRY_MS = 600_000;
/** After an error that nobody foresaw. */
const FAILED_RETRY_MS = 10_000;

export class Drain {
  readonly #init: DrainInit;
  readonly #name: string;
  readonly #throughput = new Throughput();
  /** When to look at an object again that could not be moved. */
  readonly #bad = new Map<number, number>();
  #moved = { objects: 0, bytes: 0 };
  #reason: PauseReason | undefined;
  #lastError: string | undefined;
  #retryAt = 0;

  constructor(init: DrainInit, name: string) {
    this.#init = init;
    this.#name = name;
  }

  get progress(): DrainProgress {
    return {
      movedObjects: this.#moved.objects,
      movedBytes: this.#moved.bytes,
      bytesPerSecond: this.#throughput.perSecond,
      failedObjects: this.#bad.size,
      reason: this.#reason,
      lastError: this.#lastError,
    };
  }

  /** Whether another round makes sense now. */
  get isDue(): boolean {
    return Date.now() >= this.#retryAt;
  }

  /** Whatever stopped it may be mended. */
  retry(): void {
    this.#retryAt = 0;
    this.#bad.clear();
  }

  /** One round. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#run(signal);
    } catch (error) {
      if (!signal.aborted) this.#pause(error);
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { storages, uploads, settings } = this.#init;
    const health = storages.find(this.#name)?.health();
    if (health?.state === 'Unavailable') throw new StorageUnavailableError(this.#name, health.reason);
    await uploads.endIn(this.#name, Date.now() - settings.drainUploadMs);
    /** The smallest object that found no room: larger ones need not try. */
    let tooLarge: { bytes: number; error: unknown } | undefined;
    await sideBySide(this.#objects(signal), async (object) => {
      if (tooLarge !== undefined && object.size >= tooLarge.bytes) return;
      try {
        if (!(await this.#move(object, signal))) return;
        this.#bad.delete(object.id);
        if (tooLarge === undefined) this.#goOn();
      } catch (error) {
        if (signal.aborted || !(await this.#isStill(object))) return;
        if (error instanceof BadObjectError) this.#skip(object, error);
        else if (reasonOf(error) === 'NoSpace') tooLarge = { bytes: object.size, error };
        else throw error;
      }
    });
    if (signal.aborted) return;
    if (tooLarge !== undefined) this.#pause(tooLarge.error);
    else if (this.#bad.size === 0) this.#goOn();
  }

  /** All objects there, as long as it is to be drained. */
  async *#objects(signal: AbortSignal): AsyncGenerator<Movable> {
    const { database, storages } = this.#init;
    for await (const object of movablesIn(database, this.#name)) {
      if (signal.aborted || storages.modeOf(this.#name) !== 'Drain') return;
      if ((this.#bad.get(object.id) ?? 0) <= Date.now()) yield object;
    }
  }

  /** To the next storage where one is full or fails. */
  async #move(object: Movable, signal: AbortSignal): Promise<boolean> {
    const { storages, mover, onMoved } = this.#init;
    const not = new Set([this.#name]);
    for (;;) {
      const placement = await storages.placeMoved(object.size, not);
      const target = placement.storage.name;
      try {
        const isMoved = await mover.move(object, placement, {
          signal,
          onRead: (bytes) => this.#throughput.add(bytes),
        });
        if (isMoved) {
          this.#moved.objects++;
          this.#moved.bytes += object.size;
          onMoved(this.#name, object.size);
        }
        return isMoved;
      } catch (error) {
        if (error instanceof StorageFullError && error.storage === target) storages.reportFull(target);
        else if (error instanceof StorageUnavailableError && error.storage === target) await storages.suspect(target);
        else {
          if (error instanceof StorageUnavailableError) await storages.suspect(error.storage);
          throw error;
        }
        not.add(target);
      } finally {
        placement.release();
      }
    }
  }

  /** A log that was pushed again meanwhile is no failure. */
  async #isStill(object: Movable): Promise<boolean> {
    const rows = await this.#init.database.query(
      `SELECT 1 FROM objects WHERE id = ? AND storage = ? AND name = ? AND state = 'verified'`,
      [object.id, object.storage, object.name],
    );
    return rows.length > 0;
  }

  #skip(object: Movable, error: BadObjectError): void {
    this.#bad.set(object.id, Date.now() + BAD_RETRY_MS);
    this.#reason = 'Failed';
    this.#lastError = error.message;
    this.#init.logger.error(
      { storage: this.#name, key: object.key, reason: error.message },
      'an object cannot be moved now; it is tried again',
    );
  }

  #goOn(): void {
    if (this.#bad.size > 0) return;
    this.#reason = undefined;
  }

  #pause(error: unknown): void {
    const { logger, settings } = this.#init;
    const reason = reasonOf(error);
    const text = error instanceof Error ? error.message : String(error);
    const isNew = this.#reason !== reason || this.#lastError !== text;
    this.#reason = reason;
    this.#lastError = text;
    this.#retryAt = Date.now() + { NoSpace: settings.fullRetryMs, Unavailable: 0, Failed: FAILED_RETRY_MS }[reason];
    if (!isNew) return;
    const isForeseen = error instanceof CacheError || reason !== 'Failed';
    logger.warn(
      { storage: this.#name, reason, ...(isForeseen ? { text } : { err: error }) },
      'draining pauses; it goes on by itself',
    );
  }
}
