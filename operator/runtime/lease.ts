/**
 * One of several processes leads. Whose turn it is stands in a Lease; the clocks of others are never believed: a lease
 * has expired when we have not seen it change for its whole time. Whoever leads stops well before that.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Api } from './api.ts';
import type { Lease, LeaseSpec } from './builtin.ts';
import { microTimestamp } from './conditions.ts';
import { Deadline } from './deadline.ts';
import { ApiError, LeaseLost } from './errors.ts';
import { kinds } from './kinds.ts';
import type { Metrics } from './metrics.ts';

export interface LeaseInit {
  readonly api: Api;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly namespace: string;
  readonly name: string;
  /** Of this process alone, also after a restart: a pod's name and something random. */
  readonly identity: string;
  /** How long others wait for a leader that is silent; default 15 s. */
  readonly leaseMs?: number;
  /** How long a leader works on without having renewed; less than `leaseMs`. Default 10 s. */
  readonly renewMs?: number;
  /** Between attempts, to get or to renew; default 2 s. */
  readonly retryMs?: number;
  /** How long work that was told to stop may take; default 5 s. */
  readonly graceMs?: number;
}

/** What was last read of the lease, and since when it reads so by our clock. */
export interface Sighting {
  readonly lease: Lease | undefined;
  readonly since: number;
}

/** Of a new reading; the time begins anew if anything was written. */
export function sight(before: Sighting | undefined, lease: Lease | undefined, now: number): Sighting {
  const isSame = before !== undefined && before.lease?.metadata.resourceVersion === lease?.metadata.resourceVersion;
  return isSame ? before : { lease, since: now };
}

/** Whether the lease may be taken now: it is ours, nobody's, or its holder has been silent for its whole time. */
export function isFree({ lease, since }: Sighting, identity: string, leaseMs: number, now: number): boolean {
  const { holderIdentity, leaseDurationSeconds = 0 } = lease?.spec ?? {};
  if (!holderIdentity || holderIdentity === identity) return true;
  // A holder with another setting counts on its own.
  return now - since >= Math.max(leaseMs, leaseDurationSeconds * 1000);
}

/** The lease as its holder writes it. */
export function claim(before: LeaseSpec | undefined, identity: string, leaseMs: number, now: Date): LeaseSpec {
  const time = microTimestamp(now);
  const isOurs = before?.holderIdentity === identity;
  const transitions = before?.leaseTransitions ?? 0;
  return {
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(leaseMs / 1000),
    acquireTime: isOurs ? (before.acquireTime ?? time) : time,
    renewTime: time,
    leaseTransitions: isOurs || before === undefined ? transitions : transitions + 1,
  };
}

/**
 * Waits for the lease, then does `work` as long as it holds.
 *
 * Returns when the work has, or once the signal is aborted and the work has stopped; the lease is then given back. Fails
 * with {@link LeaseLost} if it could not be renewed: the process must end, since what it knows may be wrong by now.
 */
export async function lead(
  init: LeaseInit,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const candidate = new Candidate(init);
  const heldFrom = await candidate.acquire(signal);
  if (heldFrom === undefined) return;
  await candidate.holdWhile(heldFrom, signal, work);
}

class Candidate {
  readonly #init: LeaseInit;
  readonly #leaseMs: number;
  readonly #renewMs: number;
  readonly #retryMs: number;
  #seen: Sighting | undefined;

  constructor(init: LeaseInit) {
    this.#init = init;
    this.#leaseMs = init.leaseMs ?? 15_000;
    this.#renewMs = init.renewMs ?? 10_000;
    this.#retryMs = init.retryMs ?? 2000;
    if (this.#renewMs >= this.#leaseMs) throw new RangeError('renewMs must be less than leaseMs: two would lead');
  }

  /** When the lease became ours, counted from before we asked for it; undefined if the signal ended the wait. */
  async acquire(signal: AbortSignal): Promise<number | undefined> {
    while (!signal.aborted) {
      const asked = performance.now();
      try {
        if (await this.#take(signal)) return asked;
      } catch (error) {
        if (signal.aborted) return undefined;
        this.#init.logger.warn({ err: error, lease: this.#init.name }, 'the lease cannot be asked for');
      }
      await this.#pause(signal);
    }
    return undefined;
  }

  async holdWhile(heldFrom: number, signal: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { logger, metrics, name, graceMs = 5000 } = this.#init;
    logger.info({ lease: name }, 'leading');
    metrics.leads(true);
    // A timer of its own: whatever a call waits for, the work ends in time.
    const left = heldFrom + this.#renewMs - performance.now();
    const lost = () => new LeaseLost(`the lease ${name} was not renewed within ${this.#renewMs} ms`);
    const term = new Deadline(signal, left, lost);
    const renewing = this.#renew(term);
    // Both have handlers from the start, since either may end first.
    const working = work(term.signal).then(
      () => ({ ok: true as const }),
      (error: unknown) => ({ ok: false as const, error }),
    );
    const result = await Promise.race([working, renewing.then(() => within(working, graceMs))]);
    const isLost = term.signal.reason instanceof LeaseLost;
    const reason: unknown = term.signal.reason;
    term.abort(new DOMException('the work has ended', 'AbortError'));
    await renewing;
    metrics.leads(false);
    if (isLost) throw reason;
    // Work that goes on keeps the lease until it expires.
    if (result === undefined)
      logger.warn({ lease: name }, 'the work did not stop in time; the lease is not given back');
    else await this.#release();
    if (result?.ok === false && !signal.aborted) throw result.error;
  }

  /** Renews until the term ends; never fails. */
  async #renew(term: Deadline): Promise<void> {
    const { logger, name } = this.#init;
    while (!term.signal.aborted) {
      await this.#pause(term.signal);
      if (term.signal.aborted) break;
      const asked = performance.now();
      try {
        if (await this.#take(term.signal)) term.extend(asked + this.#renewMs - performance.now());
        else term.abort(new LeaseLost(`the lease ${name} is no longer ours`));
      } catch (error) {
        if (!term.signal.aborted) logger.warn({ err: error, lease: name }, 'the lease could not be renewed yet');
      }
    }
    term.clear();
  }

  /** One attempt to get or to renew; false if the lease is another's. */
  async #take(signal: AbortSignal): Promise<boolean> {
    const { identity } = this.#init;
    // What we wrote last is what stands there, unless the write says otherwise.
    if (this.#seen?.lease?.spec?.holderIdentity !== identity) await this.#look(signal);
    if (!this.#seen || !isFree(this.#seen, identity, this.#leaseMs, performance.now())) return false;
    return this.#swap((before) => claim(before, identity, this.#leaseMs, new Date()), signal);
  }

  /** Writes the lease unless another did since it was read; false if another did. */
  async #swap(next: (before: LeaseSpec | undefined) => LeaseSpec, signal?: AbortSignal): Promise<boolean> {
    const { identity } = this.#init;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const lease = await this.#write(next(this.#seen?.lease?.spec), signal);
        if (lease === 'exists') return false;
        this.#seen = sight(this.#seen, lease, performance.now());
        return true;
      } catch (error) {
        if (!(error instanceof ApiError && (error.conflict || error.code === 404))) throw error;
      }
      // Another was faster; or an earlier write of ours was, whose answer we did not wait for.
      await this.#look(signal);
      if (this.#seen?.lease?.spec?.holderIdentity !== identity || attempt === 2) return false;
    }
  }

  async #look(signal?: AbortSignal): Promise<void> {
    const { api, namespace, name } = this.#init;
    const lease = await api.get(kinds.Lease, { namespace, name }, this.#call(signal));
    this.#seen = sight(this.#seen, lease, performance.now());
  }

  #write(spec: LeaseSpec, signal?: AbortSignal): Promise<Lease | 'exists'> {
    const { api, namespace, name } = this.#init;
    const { apiVersion, kind } = kinds.Lease;
    const before = this.#seen?.lease;
    if (before === undefined)
      return api.create(kinds.Lease, { apiVersion, kind, metadata: { namespace, name }, spec }, this.#call(signal));
    // Its resource version makes it a compare and swap.
    return api.replace(kinds.Lease, { ...before, spec }, this.#call(signal));
  }

  /** So that whoever waits need not wait for the end of the lease. */
  async #release(): Promise<void> {
    const { logger, name } = this.#init;
    try {
      const time = microTimestamp(new Date());
      const nobody = { holderIdentity: '', leaseDurationSeconds: 1, acquireTime: time, renewTime: time };
      await this.#swap((before) => ({ ...nobody, leaseTransitions: before?.leaseTransitions ?? 0 }));
      logger.info({ lease: name }, 'the lease is given back');
    } catch (error) {
      // It ends by itself.
      logger.warn({ err: error, lease: name }, 'the lease could not be given back');
    }
  }

  /** A call that hangs must leave time for another before the term ends. */
  #call(signal: AbortSignal | undefined): { signal: AbortSignal | undefined; timeoutMs: number; retries: number } {
    return { signal, timeoutMs: this.#renewMs / 2, retries: 0 };
  }

  async #pause(signal: AbortSignal): Promise<void> {
    await sleep(this.#retryMs * (0.9 + Math.random() / 5), undefined, { signal }).catch(() => {});
  }
}

/** The promise's value, or undefined if that takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const timer = new AbortController();
  const timeout = sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined);
  return Promise.race([promise, timeout]).finally(() => timer.abort());
}
