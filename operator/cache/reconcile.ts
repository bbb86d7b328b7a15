/** One look at one cache: observe, desired, plan, act, status. */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { BinaryCacheStatus } from '../../crds/index.ts';
import {
  type Api,
  ApiError,
  Contests,
  type Events,
  kinds,
  type Ref,
  type Outcome as Requeue,
} from '../runtime/index.ts';
import { type ActInit, act, type Outcome, StepError } from './act.ts';
import type { Inputs } from './desired/index.ts';
import { admitRoutes, configHash, desired, isOfRoutes, type RouteRules } from './desired/index.ts';
import { RECONCILE_ANNOTATION } from './names.ts';
import type { Observed } from './observe/index.ts';
import { type ObserveInit, observe, stillMounted } from './observe/index.ts';
import { plan, type Step, stepKey, subjectOf } from './plan/index.ts';
import * as reasons from './reasons.ts';
import { CrdGap, differsInSubstance, overdueStatus, status } from './status/index.ts';
import { BINARY_CACHE, type Cache, isPaused } from './types.ts';

export interface CacheSettings {
  readonly image: string;
  readonly apiUrl: string | undefined;
  readonly trustedProxies: readonly string[];
  readonly operatorNamespace: string;
  readonly routes: RouteRules;
  /** Between two looks while something is under way. */
  readonly pollMs: number;
  /** Between two looks at a cache that is well: how old the numbers in its status get. */
  readonly steadyMs: number;
  /** Between two writes of nothing but numbers. */
  readonly numbersMs: number;
}

export interface ReconcilerInit extends ObserveInit {
  readonly api: Api;
  readonly settings: CacheSettings;
  readonly events: Events;
  readonly logger: Logger;
  readonly afterStep?: () => void;
}

/** Secrets, then tokens, then all else: each look needs what the one before has made. */
const MOST_LOOKS = 4;

export class Reconciler {
  readonly #init: ReconcilerInit;
  readonly #act: ActInit;
  /** What was last written of a cache and when, and for which annotation its Secrets were looked at anew. */
  readonly #known = new Map<string, { uid: string; wroteAt: number; forced: string | undefined; generation: number }>();
  /** Steps by the uid of their cache. */
  readonly #contests = new Contests();
  readonly #gap: CrdGap;

  constructor(init: ReconcilerInit) {
    this.#init = init;
    const { api, secrets, afterStep, settings, logger } = init;
    this.#gap = new CrdGap({ logger, retryMs: settings.steadyMs });
    const onStep = this.#tell.bind(this);
    this.#act = { api, secrets, ...(afterStep && { afterStep }), onStep, isThere: (cache) => this.#isThere(cache) };
  }

  async reconcile(ref: Ref, signal: AbortSignal): Promise<Requeue> {
    const found = this.#init.stores.caches.get(ref);
    const key = `${ref.namespace}/${ref.name}`;
    if (!found || found.metadata.deletionTimestamp !== undefined) {
      this.#forget(key);
      return {};
    }
    const { cache, refused } = admitRoutes(found, this.#init.settings.routes);
    const known = this.#knownOf(key, cache);
    const forced = cache.metadata.annotations?.[RECONCILE_ANNOTATION];
    const generation = cache.metadata.generation ?? 0;
    let isFresh = forced !== known.forced || generation !== known.generation;
    // Whoever asks wants to see the numbers too, and what is put off done.
    if (forced !== known.forced) {
      known.wroteAt = 0;
      this.#contests.forget(known.uid);
    }
    known.forced = forced;
    known.generation = generation;
    for (let looks = 1; this.#isThere(cache); looks++) {
      const seen = await observe(this.#init, cache, isFresh, signal);
      const observed = { ...seen, obstacles: [...seen.obstacles, ...refused] };
      const inputs = await this.#inputs(cache, observed, signal);
      const outcome = await this.#carryOut(cache, inputs, observed, signal);
      isFresh = false;
      const isMade = outcome.steps.some((step) => step.do === 'generate' || isRemoval(step));
      if (isMade && outcome.error === undefined && looks < MOST_LOOKS) continue;
      // Otherwise a cache whose pods are about to restart would be called ready.
      const children = new Map([...observed.children, ...outcome.applied]);
      return this.#report(cache, inputs, { ...observed, children }, outcome, known, signal);
    }
    return {};
  }

  /**
   * Tells of a look that took longer than it may: by an event, and by Ready, whose other words are of an earlier look. Never
   * fails.
   */
  async tellTimeout(ref: Ref, timeoutMs: number): Promise<void> {
    const { api, events, stores, logger } = this.#init;
    const cache = stores.caches.get(ref);
    if (!cache) return;
    const next = overdueStatus(cache, timeoutMs, new Date());
    const note = `a look did not end within ${timeoutMs / 1000} s`;
    events.record(cache, { type: 'Warning', reason: reasons.RECONCILE_TIMEOUT, action: 'Reconcile', note });
    const { apiVersion, kind, metadata } = cache;
    const { name, namespace, uid } = metadata;
    const object = { apiVersion, kind, metadata: { name, namespace, uid }, status: next };
    await api.apply(BINARY_CACHE, object, { sub: 'status', timeoutMs }).catch((error: unknown) => {
      logger.warn({ err: error, cache: `${namespace}/${name}` }, 'a status could not be written');
    });
  }

  /** Whether it was not deleted since it was read. */
  #isThere({ metadata }: Cache): boolean {
    const found = this.#init.stores.caches.get(metadata);
    return found !== undefined && found.metadata.deletionTimestamp === undefined;
  }

  #knownOf(key: string, { metadata }: Cache) {
    let known = this.#known.get(key);
    if (known?.uid !== metadata.uid) {
      this.#forget(key);
      known = { uid: metadata.uid, wroteAt: 0, forced: undefined, generation: -1 };
      this.#known.set(key, known);
    }
    return known;
  }

  #forget(key: string): void {
    const known = this.#known.get(key);
    if (known) this.#contests.forget(known.uid);
    this.#known.delete(key);
  }

  async #inputs(cache: Cache, observed: Observed, signal: AbortSignal): Promise<Inputs> {
    const { secrets, publicName } = observed;
    const { api, settings } = this.#init;
    const { image, apiUrl, trustedProxies, operatorNamespace } = settings;
    const [httpRoute, serviceMonitor] = await Promise.all([
      api.served(kinds.HTTPRoute, { signal }),
      api.served(kinds.ServiceMonitor, { signal }),
    ]);
    return {
      image,
      apiUrl: publicName?.holder === 'this cache' ? apiUrl : undefined,
      trustedProxies,
      operatorNamespace,
      tokenHashes: secrets.tokenHashes,
      leftovers: secrets.leftovers,
      stillMounted: stillMounted(cache, observed),
      served: { httpRoute, serviceMonitor },
    };
  }

  async #carryOut(cache: Cache, inputs: Inputs, observed: Observed, signal: AbortSignal): Promise<Outcome> {
    const nothing = { steps: [], applied: new Map(), notGrown: new Map(), contested: [], heldMs: undefined };
    const isHindered = observed.obstacles.some((it) => !isOfRoutes(it));
    if (isPaused(cache) || isHindered) return nothing;
    // The name of the signing key follows from it, and a key is for ever.
    if (observed.publicName && observed.publicName.holder === undefined)
      return { ...nothing, steps: [{ do: 'wait', because: 'its public name is being decided' }] };
    const steps = plan(cache, desired(cache, inputs), observed);
    const { uid } = cache.metadata;
    const holdOf = (step: Step) => (step.do === 'wait' ? 0 : this.#contests.holdMs(uid, stepKey(step)));
    const holds = steps.map(holdOf).filter((ms) => ms > 0);
    const due = steps.filter((step) => holdOf(step) === 0);
    const acted = await act(this.#act, cache, inputs, observed, due, signal);
    const heldMs = holds.length > 0 ? Math.min(...holds) : undefined;
    return { ...acted, contested: this.#contests.notes(uid), heldMs };
  }

  async #report(
    cache: Cache,
    inputs: Inputs,
    observed: Observed,
    outcome: Outcome,
    known: { wroteAt: number },
    signal: AbortSignal,
  ): Promise<Requeue> {
    const { settings } = this.#init;
    const report = () =>
      status(cache, inputs, observed, outcome, configHash(cache, inputs), new Date(), this.#gap.fields);
    const next = report();
    const { error } = outcome;
    // Nothing can be written any more, and all of it goes.
    if (error instanceof ApiError && error.isNamespaceTerminating) return {};
    const sinceWrite = Date.now() - known.wroteAt;
    const isNews = differsInSubstance(cache.status, next);
    if (isNews || (!isDeepStrictEqual(cache.status, next) && sinceWrite >= settings.numbersMs)) {
      await this.#write(cache, next, report, signal);
      known.wroteAt = Date.now();
    }
    // The API server may come round; a foreign object may go.
    if (error !== undefined && !(error instanceof StepError)) throw error;
    return { requeueAfterMs: Math.min(this.#pause(next, outcome), outcome.heldMs ?? Number.POSITIVE_INFINITY) };
  }

  /** Writes the status; where the CRD is too old for it, what the CRD knows of it. */
  async #write(cache: Cache, next: BinaryCacheStatus, again: () => BinaryCacheStatus, signal: AbortSignal) {
    const { apiVersion, kind, metadata } = cache;
    const { name, namespace, uid } = metadata;
    const object = (status: BinaryCacheStatus) => ({ apiVersion, kind, metadata: { name, namespace, uid }, status });
    try {
      await this.#init.api.apply(BINARY_CACHE, object(next), { sub: 'status', signal });
      this.#announce(cache, next);
    } catch (error) {
      // It was deleted meanwhile.
      if (error instanceof ApiError && error.code === 404) return;
      if (!(error instanceof ApiError && error.isSchemaMismatch && this.#gap.learn(error))) throw error;
      const known = again();
      if (!isDeepStrictEqual(cache.status, known)) await this.#write(cache, known, again, signal);
    }
  }

  /** Tells of another state than before. */
  #announce(cache: Cache, next: BinaryCacheStatus): void {
    const { events, logger } = this.#init;
    const { namespace, name } = cache.metadata;
    const before = cache.status?.conditions?.find(({ type }) => type === reasons.READY);
    const ready = next.conditions?.find(({ type }) => type === reasons.READY);
    if (!ready || (before?.reason === ready.reason && before.status === ready.status)) return;
    const { reason, message: note } = ready;
    logger.info({ cache: `${namespace}/${name}`, reason, message: note }, `Ready is ${ready.status}`);
    const isFine = ready.status === 'True' || reason === reasons.PROGRESSING;
    events.record(cache, { type: isFine ? 'Normal' : 'Warning', reason, action: 'Reconcile', note });
  }

  #pause(next: BinaryCacheStatus, { steps, error }: Outcome): number {
    const { pollMs, numbersMs, steadyMs } = this.#init.settings;
    const conditions = next.conditions ?? [];
    const isUnderWay = (type: string) =>
      conditions.some((it) => it.type === type && it.status !== 'True' && it.reason === reasons.PROGRESSING);
    if (error === undefined && (steps.some((step) => step.do === 'wait') || isUnderWay(reasons.READY))) return pollMs;
    // Secrets are not watched: who brings one that is missing does not want to wait for long.
    const isAwaited = ({ type, status }: (typeof conditions)[number]) =>
      type === reasons.DRAINING || (type === reasons.KEYS_READY && status !== 'True');
    return conditions.some(isAwaited) ? numbersMs : steadyMs;
  }

  #tell(cache: Cache, step: Step, version: string): void {
    const { events, logger } = this.#init;
    if (step.do === 'wait') return;
    const what = subjectOf(step);
    const { namespace, name, uid } = cache.metadata;
    this.#contests.done(uid, stepKey(step), version, `${what} has to be set right again and again: ${step.because}`);
    logger.info({ cache: `${namespace}/${name}`, object: what, because: step.because }, WORDS[step.do]);
    // That a new cache gets what every cache has is no news.
    if (step.do === 'apply' && step.isNew) return;
    const reason = EVENTS[step.do];
    events.record(cache, { type: 'Normal', reason, action: 'Reconcile', note: `${what}: ${step.because}` });
  }
}

/** The ConfigMap remembers what is to be removed until it is gone. */
const isRemoval = (step: Step): boolean => step.do === 'delete' && step.object.kind === kinds.Secret.kind;

const WORDS = { generate: 'made', own: 'changed owner', apply: 'applied', delete: 'deleted' } as const;
const EVENTS = { generate: 'Created', own: 'Updated', apply: 'Updated', delete: 'Deleted' } as const;
