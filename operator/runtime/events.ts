/**
 * Tells users what happened to an object, as `kubectl describe` shows it. Nothing waits for an event, and nothing fails
 * for one: they are a courtesy, and bounded, since each is a write into the cluster's database.
 */
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { Api } from './api.ts';
import { microTimestamp } from './conditions.ts';
import { ApiError } from './errors.ts';
import { kinds } from './kinds.ts';
import type { Metrics } from './metrics.ts';
import type { Obj, Ref } from './objects.ts';

export interface EventsInit {
  readonly api: Api;
  /** Who reports, as in `example.dev/operator`. */
  readonly controller: string;
  /** Which one of them: the pod's name. */
  readonly instance: string;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Between two writes of how often the same thing happened; default 1 min. */
  readonly seriesMs?: number;
  /** How many events an object may have at once; default 10. */
  readonly burst?: number;
  /** In which it may have one more; default 1 min. */
  readonly refillMs?: number;
  /** How many different events, and how many objects, are remembered; default 1000. */
  readonly remembered?: number;
  /** Milliseconds that only grow; for tests. */
  readonly clock?: () => number;
}

export interface Happening {
  readonly type: 'Normal' | 'Warning';
  /** A word in PascalCase that programs may know. */
  readonly reason: string;
  /** What was done about the object, a word in PascalCase. */
  readonly action: string;
  /** A sentence for people. The same sentence again is the same event. */
  readonly note: string;
}

interface Known {
  /** The event in the cluster; undefined until it was created. */
  ref: Ref | undefined;
  count: number;
  writtenAt: number;
  isPending: boolean;
}

/** The API's own limits, in bytes. */
const MOST_NOTE = 1024;
const MOST_NAME = 253;
const MOST_PENDING = 100;
/** Where events of objects without a namespace are kept. */
const CLUSTER_NAMESPACE = 'default';

export class Events {
  readonly #init: EventsInit;
  readonly #clock: () => number;
  readonly #known = new Map<string, Known>();
  /** By uid: what is left of the burst, and since when. */
  readonly #budgets = new Map<string, { left: number; at: number }>();
  #writes: Promise<void> = Promise.resolve();
  #pending = 0;

  constructor(init: EventsInit) {
    this.#init = init;
    this.#clock = init.clock ?? (() => performance.now());
  }

  /** Writes the event soon. What happens again and again becomes one event that counts. */
  record(regarding: Obj, happening: Happening): void {
    const { type, reason, note } = happening;
    const key = JSON.stringify([regarding.metadata.uid, type, reason, note]);
    const known = this.#known.get(key) ?? { ref: undefined, count: 0, writtenAt: 0, isPending: false };
    known.count += 1;
    this.#remember(this.#known, key, known);
    const isDue = known.count <= 2 || this.#clock() - known.writtenAt >= (this.#init.seriesMs ?? 60_000);
    // What is about to be written will carry this count too.
    if (!isDue || known.isPending) return;
    if (this.#pending >= MOST_PENDING || !this.#isAffordable(regarding.metadata.uid)) {
      this.#init.metrics.eventDropped();
      return;
    }
    known.isPending = true;
    known.writtenAt = this.#clock();
    this.#pending += 1;
    this.#writes = this.#writes.then(() => this.#write(regarding, happening, known));
  }

  /** Fulfilled once what was recorded until now is written, or has failed. */
  flush(): Promise<void> {
    return this.#writes;
  }

  async #write(regarding: Obj, happening: Happening, known: Known): Promise<void> {
    known.isPending = false;
    this.#pending -= 1;
    try {
      if (known.ref === undefined || !(await this.#count(known.ref, known.count)))
        known.ref = await this.#create(regarding, happening, known.count);
    } catch (error) {
      this.#init.metrics.eventDropped();
      this.#init.logger.warn({ err: error, reason: happening.reason }, 'an event could not be written');
    }
  }

  /** False if the event has expired meanwhile. */
  async #count(ref: Ref, count: number): Promise<boolean> {
    const series = { count, lastObservedTime: microTimestamp(new Date()) };
    try {
      await this.#init.api.patch(kinds.Event, ref, { series });
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return false;
      throw error;
    }
  }

  async #create(regarding: Obj, { type, reason, action, note }: Happening, count: number): Promise<Ref> {
    const { apiVersion, kind, metadata } = regarding;
    const suffix = `.${randomBytes(8).toString('hex')}`;
    const name = metadata.name.slice(0, MOST_NAME - suffix.length) + suffix;
    const namespace = metadata.namespace ?? CLUSTER_NAMESPACE;
    const now = microTimestamp(new Date());
    await this.#init.api.create(kinds.Event, {
      apiVersion: kinds.Event.apiVersion,
      kind: kinds.Event.kind,
      metadata: { namespace, name },
      eventTime: now,
      // The API wants a series to count from two.
      ...(count > 1 ? { series: { count, lastObservedTime: now } } : {}),
      reportingController: this.#init.controller,
      reportingInstance: this.#init.instance,
      type,
      reason,
      action,
      note: shortened(note),
      regarding: { apiVersion, kind, namespace: metadata.namespace, name: metadata.name, uid: metadata.uid },
    });
    return { namespace, name };
  }

  #isAffordable(uid: string): boolean {
    const { burst = 10, refillMs = 60_000 } = this.#init;
    const now = this.#clock();
    const before = this.#budgets.get(uid) ?? { left: burst, at: now };
    const left = Math.min(burst, before.left + (now - before.at) / refillMs);
    const isAffordable = left >= 1;
    this.#remember(this.#budgets, uid, { left: isAffordable ? left - 1 : left, at: now });
    return isAffordable;
  }

  /** Moves the entry to the end; the one that was longest unused goes. */
  #remember<V>(map: Map<string, V>, key: string, value: V): void {
    map.delete(key);
    map.set(key, value);
    const [oldest] = map.keys();
    if (map.size > (this.#init.remembered ?? 1000) && oldest !== undefined) map.delete(oldest);
  }
}

function shortened(note: string): string {
  const bytes = Buffer.from(note);
  if (bytes.length <= MOST_NOTE) return note;
  // A character that is cut in two becomes U+FFFD.
  return `${bytes
    .subarray(0, MOST_NOTE - 3)
    .toString()
    .replace(/\uFFFD+$/, '')}…`;
}
