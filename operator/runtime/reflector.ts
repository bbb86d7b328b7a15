/**
 * Follows the objects of one kind in one place: lists them, then watches from there on, for ever. A watch goes on where
 * the last one ended; only a version that the server no longer has makes it list again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Api, ListQuery, WatchEvent } from './api.ts';
import { type Backoff, backoffMs } from './backoff.ts';
import { ApiError } from './errors.ts';
import type { Kind } from './kinds.ts';
import type { Metrics, WatchEnd } from './metrics.ts';
import type { Obj } from './objects.ts';

export interface ReflectorTimes {
  /** The server ends a watch after at least this, at most a fifth more; default 290 s. */
  readonly watchSeconds?: number;
  /** A watch that is silent for so long is half-open; the server sends a bookmark about every minute. Default 150 s. */
  readonly idleMs?: number;
  /** Between attempts that failed; default 0.2 s to 30 s. */
  readonly backoff?: Backoff;
  /** Between two looks for a kind that is not served; default 60 s. */
  readonly absentMs?: number;
}

/** Whom the reflector tells. */
export interface Sink<T extends Obj> {
  /** These are all that there are now. */
  replace(objects: readonly T[]): void;
  put(object: T): void;
  delete(object: T): void;
}

export interface ReflectorInit<T extends Obj> {
  readonly api: Api;
  readonly kind: Kind<T>;
  readonly query: ListQuery;
  readonly sink: Sink<T>;
  readonly trim: (object: T) => T;
  /** A kind that is not served has no objects, rather than being an error. */
  readonly optional: boolean;
  readonly times: ReflectorTimes;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** A watch that ends sooner and without a word is a failure: it must not be begun anew at once. */
const SHORT_WATCH_MS = 1000;

export class Reflector<T extends Obj> {
  readonly #init: ReflectorInit<T>;
  readonly #backoff: Backoff;
  /** Of what the sink knows; undefined: it must be listed. */
  #version: string | undefined;
  #failures = 0;
  #activeAt = performance.now();

  constructor(init: ReflectorInit<T>) {
    this.#init = init;
    this.#backoff = init.times.backoff ?? { baseMs: 200, maxMs: 30_000 };
  }

  /** By `performance.now()`: when it last heard something or tried something. */
  get activeAt(): number {
    return this.#activeAt;
  }

  /** Runs until the signal is aborted, and fails never. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let waitMs = 0;
      try {
        if (this.#version === undefined) await this.#list(signal);
        else waitMs = await this.#watch(this.#version, signal);
      } catch (error) {
        if (signal.aborted) return;
        waitMs = this.#afterFailure(error);
      }
      this.#activeAt = performance.now();
      await sleep(waitMs, undefined, { signal }).catch(() => {});
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { api, kind, query, trim, sink } = this.#init;
    const { items, resourceVersion } = await api.list(kind, query, { trim, signal });
    sink.replace(items);
    // Failures count on: a watch that finds each list's version too old must not make a loop of lists.
    this.#version = resourceVersion;
  }

  /** Watches until the server ends it; returns how long to wait before the next watch. */
  async #watch(resourceVersion: string, signal: AbortSignal): Promise<number> {
    const { api, kind, query, times } = this.#init;
    const startedAt = performance.now();
    // Not all at the same moment, or the server's load comes in waves.
    const timeoutSeconds = Math.ceil((times.watchSeconds ?? 290) * (1 + Math.random() / 5));
    const watch = { ...query, resourceVersion, timeoutSeconds, idleMs: times.idleMs ?? 150_000 };
    for await (const event of api.watch(kind, watch, signal)) {
      this.#take(event);
      this.#version = event.object.metadata.resourceVersion;
      this.#failures = 0;
      this.#activeAt = performance.now();
    }
    const isShort = this.#version === resourceVersion && performance.now() - startedAt < SHORT_WATCH_MS;
    this.#ended(isShort ? 'short' : 'ended');
    if (isShort) return this.#nextWait();
    this.#failures = 0;
    return 0;
  }

  #take(event: WatchEvent<T>): void {
    const { sink, trim } = this.#init;
    if (event.type === 'BOOKMARK') return;
    const object = trim(event.object);
    if (event.type === 'DELETED') sink.delete(object);
    else sink.put(object);
  }

  #afterFailure(error: unknown): number {
    const { kind, optional, sink, times, logger } = this.#init;
    if (!(error instanceof ApiError)) {
      // What we hold may lack what we failed at.
      this.#version = undefined;
      logger.error({ err: error, kind: kind.kind }, 'an informer failed; it lists again');
      return this.#nextWait();
    }
    if (error.expired || error.isFromTheFuture) {
      this.#version = undefined;
      this.#ended('expired');
      logger.info({ kind: kind.kind }, 'the server no longer has what came next; listing again');
      // At once, unless that happens again and again.
      this.#failures += 1;
      return this.#failures === 1 ? 0 : backoffMs(this.#backoff, this.#failures);
    }
    if (error.code === 404 && optional) {
      sink.replace([]);
      this.#version = undefined;
      this.#ended('absent');
      return times.absentMs ?? 60_000;
    }
    this.#ended(error.reason === 'Idle' ? 'idle' : 'error');
    const waitMs = this.#nextWait(error.retryAfterMs);
    logger.warn({ err: error, kind: kind.kind, ...this.#init.query, waitMs }, 'a watch broke; it goes on');
    return waitMs;
  }

  #nextWait(retryAfterMs?: number): number {
    this.#failures += 1;
    return backoffMs(this.#backoff, this.#failures, retryAfterMs);
  }

  #ended(reason: WatchEnd): void {
    this.#init.metrics.watchEnded(this.#init.kind.kind, reason);
  }
}
