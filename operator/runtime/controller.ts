/** Changes become keys, keys become reconciles: level-triggered, one at a time for each key. */
import type { Logger } from 'pino';
import type { Backoff } from './backoff.ts';
import { Deadline } from './deadline.ts';
import { ApiError, ReconcileTimeout, TerminalError } from './errors.ts';
import type { Change, Informer } from './informer.ts';
import type { Metrics, ReconcileResult } from './metrics.ts';
import { type Obj, type Ref, refOf } from './objects.ts';
import { WorkQueue } from './queue.ts';

/** Where keys come from. */
export interface Source {
  readonly synced: Promise<void>;
  /** The keys of all objects that there are. */
  keys(): Iterable<string>;
  /** Calls `enqueue` for each change's keys from now on; returns how to stop that. */
  subscribe(enqueue: (key: string) => void): () => void;
}

export interface Outcome {
  /** Come back after this time, for what no event will tell. */
  readonly requeueAfterMs?: number;
}

export interface Controller {
  readonly name: string;
  readonly sources: readonly Source[];
  /**
   * Makes the world as the object wishes, whatever happened to either. The object may be gone.
   *
   * Fails with a {@link TerminalError} where only a change can help; anything else is tried again, later and later.
   */
  reconcile(ref: Ref, signal: AbortSignal): Promise<Outcome | undefined>;
  /** How many keys at a time; default 4. */
  readonly workers?: number;
  /** Each key comes at least this often; default 10 min. */
  readonly resyncMs?: number;
  /** Between retries of a key; default 1 s to 5 min. */
  readonly backoff?: Backoff;
  /** How long a reconcile may take; default 5 min. Then its signal is aborted and nobody waits for it any more. */
  readonly timeoutMs?: number;
  /** Called for each that has taken longer. */
  readonly onTimeout?: (ref: Ref) => void;
}

export interface ControllerContext {
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/**
 * A source of the keys that `keys` names for each object that comes, changes or goes. With `changed`, changes that it
 * denies are passed over: those of a status that we write ourselves, say.
 */
export function watches<T extends Obj>(
  informer: Informer<T>,
  keys: (object: T) => Iterable<string>,
  changed: (now: T, before: T) => boolean = () => true,
): Source {
  const concerned = (change: Change<T>): Iterable<string> => {
    if (change.type === 'delete' || change.before === undefined) return keys(change.object);
    if (!changed(change.object, change.before)) return [];
    // Whom it concerned before, and no longer does, must know too.
    return new Set([...keys(change.before), ...keys(change.object)]);
  };
  return {
    synced: informer.synced,
    *keys() {
      for (const object of informer.all()) yield* keys(object);
    },
    subscribe: (enqueue) =>
      informer.onChange((change) => {
        for (const key of concerned(change)) enqueue(key);
      }),
  };
}

/** Runs the controllers until the signal is aborted and what they are at has ended. */
export async function runControllers(
  controllers: readonly Controller[],
  context: ControllerContext,
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(controllers.map((controller) => run(controller, context, signal)));
}

async function run(controller: Controller, context: ControllerContext, signal: AbortSignal): Promise<void> {
  const { name, sources, workers = 4, resyncMs = 600_000, backoff } = controller;
  const queue = new WorkQueue(backoff === undefined ? {} : { backoff });
  context.metrics.measureQueue(name, queue);
  const add = (key: string) => queue.add(key);
  const unsubscribe = sources.map((source) => source.subscribe(add));
  const all = function* () {
    for (const source of sources) yield* source.keys();
  };
  // Spread out, so that a thousand objects are not a wave.
  const resync = () => {
    for (const key of all()) queue.addAfter(key, (Math.random() * resyncMs) / 10);
  };
  let timer: NodeJS.Timeout | undefined;
  try {
    // A store that is not whole must not be acted on: what it lacks would look deleted.
    await aborted(signal, Promise.all(sources.map(({ synced }) => synced)));
    if (signal.aborted) return;
    for (const key of all()) queue.add(key);
    timer = setInterval(resync, resyncMs);
    await Promise.all(Array.from({ length: workers }, () => work(controller, queue, context, signal)));
  } finally {
    clearInterval(timer);
    for (const stop of unsubscribe) stop();
    queue.shutDown();
  }
}

async function work(
  controller: Controller,
  queue: WorkQueue,
  { logger, metrics }: ControllerContext,
  signal: AbortSignal,
): Promise<void> {
  for (let key = await queue.next(signal); key !== undefined; key = await queue.next(signal)) {
    const start = performance.now();
    let result: ReconcileResult;
    try {
      const outcome = await inTime(controller, refOf(key), signal);
      queue.forget(key);
      result = outcome?.requeueAfterMs === undefined ? 'ok' : 'requeue';
      if (outcome?.requeueAfterMs !== undefined) queue.addAfter(key, outcome.requeueAfterMs);
    } catch (error) {
      // It failed because it was told to stop.
      if (signal.aborted) return;
      result = afterFailure(controller.name, key, error, queue, logger);
      if (error instanceof ReconcileTimeout) controller.onTimeout?.(refOf(key));
    } finally {
      queue.done(key);
    }
    metrics.reconciled(controller.name, result, (performance.now() - start) / 1000);
  }
}

/** What comes of a reconcile; fails with a {@link ReconcileTimeout} if it takes too long, whether it heeds its signal or not. */
async function inTime(controller: Controller, ref: Ref, signal: AbortSignal): Promise<Outcome | undefined> {
  const { timeoutMs = 300_000 } = controller;
  const { promise: late, reject } = Promise.withResolvers<never>();
  // What goes on all the same can write nothing: each of its requests has this signal.
  const deadline = new Deadline(signal, timeoutMs, () => {
    const error = new ReconcileTimeout(`it did not end within ${timeoutMs / 1000} s`);
    reject(error);
    return error;
  });
  try {
    return await Promise.race([controller.reconcile(ref, deadline.signal), late]);
  } finally {
    deadline.clear();
  }
}

function afterFailure(
  controller: string,
  key: string,
  error: unknown,
  queue: WorkQueue,
  logger: Logger,
): ReconcileResult {
  if (isTerminal(error)) {
    queue.forget(key);
    logger.error({ err: error, controller, key }, 'a reconcile failed; it waits for a change');
    return 'terminal';
  }
  const waitMs = queue.retry(key, error instanceof ApiError ? error.retryAfterMs : undefined);
  const fields = { err: error, controller, key, waitMs };
  if (error instanceof ApiError && error.conflict) {
    // Somebody else was faster, and that is how it should be.
    logger.info(fields, 'a reconcile met another writer; it is tried again');
    return 'conflict';
  }
  if (error instanceof ReconcileTimeout) {
    logger.error(fields, 'a reconcile took too long and was ended; it is tried again');
    return 'timeout';
  }
  if (error instanceof ApiError && error.transient) logger.warn(fields, 'a reconcile failed; it is tried again');
  else logger.error(fields, 'a reconcile failed; it is tried again');
  return 'error';
}

/** An old CRD or a namespace that goes is no better for being asked again. */
function isTerminal(error: unknown): boolean {
  if (error instanceof ApiError) return error.isSchemaMismatch || error.isNamespaceTerminating;
  return error instanceof TerminalError;
}

/** Fulfilled by the signal's abort, or as `promise` is. */
function aborted(signal: AbortSignal, promise: Promise<unknown>): Promise<unknown> {
  const { promise: abort, resolve } = Promise.withResolvers<void>();
  const stop = () => resolve();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  return Promise.race([promise, abort]).finally(() => signal.removeEventListener('abort', stop));
}
