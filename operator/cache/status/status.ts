/** What is reported of a cache. Pure: `now` is an argument. */
import { isDeepStrictEqual } from 'node:util';
import { type BinaryCacheStatus, without } from '../../../crds/index.ts';
import { type Condition, mergeConditions, type StatefulSet } from '../../runtime/index.ts';
import type { Outcome } from '../act.ts';
import type { Inputs } from '../desired/index.ts';
import { bestUrl } from '../desired/index.ts';
import { namesOf, RECONCILE_ANNOTATION, selectorOf } from '../names.ts';
import type { Observed } from '../observe/index.ts';
import * as reasons from '../reasons.ts';
import type { Cache } from '../types.ts';
import { isPaused } from '../types.ts';
import { findings } from './conditions.ts';
import type { Facts } from './facts.ts';
import { podStatus } from './pods.ts';
import { storageStatus } from './storages.ts';
import { usageOf } from './usage.ts';

export function status(
  cache: Cache,
  inputs: Inputs,
  observed: Observed,
  outcome: Outcome,
  expectedHash: string,
  now: Date,
  lacking: readonly string[] = [],
): BinaryCacheStatus {
  const workload = observed.children.get(`StatefulSet/${namesOf(cache).workload}`) as StatefulSet | undefined;
  const storages = storageStatus(cache, observed);
  const facts: Facts = { cache, inputs, observed, outcome, expectedHash, workload, storages, lacking, now };
  const generation = cache.metadata.generation ?? 0;
  const before = (cache.status?.conditions ?? []) as readonly Condition[];
  const asked = lastReconcile(cache, outcome);
  const usage = usageOf(cache, observed);
  const image = workload?.spec.template.spec.containers[0]?.image;
  const whole: BinaryCacheStatus = {
    observedGeneration: generation,
    replicas: workload?.status?.replicas ?? 0,
    readyReplicas: workload?.status?.readyReplicas ?? 0,
    selector: Object.entries(selectorOf(cache))
      .map(([name, value]) => `${name}=${value}`)
      .join(','),
    url: bestUrl(cache, inputs),
    ...(image !== undefined && { image }),
    ...(asked !== undefined && { lastReconcile: asked }),
    configHash: expectedHash,
    pods: podStatus(cache, observed, expectedHash, now),
    publicKeys: publicKeysOf(cache, observed),
    storages,
    ...(usage !== undefined && { usage }),
    conditions: [...mergeConditions(before, findings(facts), generation, now)],
  };
  return lacking.length > 0 ? without(whole, lacking) : whole;
}

/** What is reported of a cache whose look was given up: nothing new but that. */
export function overdueStatus(
  { status = {}, metadata }: Cache,
  timeoutMs: number,
  now: Date,
): Partial<BinaryCacheStatus> {
  const before = (status.conditions ?? []) as readonly Condition[];
  const message = `a look at this cache did not end within ${timeoutMs / 1000} s and was given up; it is begun anew`;
  const overdue = { type: reasons.READY, status: 'Unknown' as const, reason: reasons.RECONCILE_TIMEOUT, message };
  const others = before.filter(({ type }) => type !== reasons.READY);
  return { ...status, conditions: [...mergeConditions(before, [overdue], metadata.generation, now), ...others] };
}

/** What the CRD takes. */
const MOST_CHARACTERS = 256;

/** For which value of the annotation all was done that could be: whoever asks may wait for it. */
function lastReconcile(cache: Cache, { error }: Outcome): string | undefined {
  const isDone = error === undefined && !isPaused(cache);
  return isDone
    ? cache.metadata.annotations?.[RECONCILE_ANNOTATION]?.slice(0, MOST_CHARACTERS)
    : cache.status?.lastReconcile;
}

/** What the CRD takes; so many keys sign no cache. */
const MOST_KEYS = 32;

/** Of the servers, who know keys that clients registered too. Clients trust these: while nobody tells, none vanishes. */
function publicKeysOf({ status }: Cache, { reports, secrets }: Observed): string[] {
  const told = [...reports.values()].flatMap(({ caches }) => caches.flatMap(({ publicKeys }) => publicKeys));
  const known = told.length > 0 ? told : [...secrets.publicKeys, ...(status?.publicKeys ?? [])];
  return [...new Set(known)].slice(0, MOST_KEYS);
}

/** Whether two reports differ in more than numbers that rise and fall by themselves. */
export function differsInSubstance(before: Partial<BinaryCacheStatus> | undefined, next: BinaryCacheStatus): boolean {
  return !isDeepStrictEqual(substance(before ?? {}), substance(next));
}

function substance({ storages = [], usage, conditions = [], ...rest }: Partial<BinaryCacheStatus>): unknown {
  return {
    ...rest,
    storages: storages.map(({ name, phase }) => ({ name, phase })),
    lastGC: usage?.lastGC?.state,
    conditions: conditions.map(({ type, status, reason, observedGeneration }) => ({
      type,
      status,
      reason,
      observedGeneration,
    })),
  };
}
