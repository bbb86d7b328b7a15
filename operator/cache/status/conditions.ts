/**
 * The conditions of a cache: each is a list of checks in the order of what a person should look at first. The first
 * check that finds something gives the reason. Pure.
 */
import { hashOfText } from '../../../crds/index.ts';
import { messageOf, type Pod } from '../../runtime/index.ts';
import { StepError } from '../act.ts';
import { isOfRoutes } from '../desired/index.ts';
import { ADMIN_PORT, CONFIG_FILE, namesOf } from '../names.ts';
import { isReady } from '../observe/index.ts';
import { isLost } from '../plan/index.ts';
import * as reasons from '../reasons.ts';
import { isPaused, PAUSED_ANNOTATION } from '../types.ts';
import { exposed, redirected, tokensRouted } from './exposure.ts';
import { type Check, condition, type Facts, type Finding, type NewCondition, yes } from './facts.ts';
import { closuresComplete, collectionHeld, withinQuota } from './path-conditions.ts';
import { pinned } from './pins.ts';
import { draining, full, fullEverywhere, illStorage, notGrown, objectsLost, resizing } from './storage-conditions.ts';

/** All conditions, Ready first. */
export function findings(facts: Facts): NewCondition[] {
  return [
    condition(reasons.READY, 'everything that the manifest asks for is there and works', first(READY_CHECKS, facts)),
    condition(reasons.AVAILABLE, 'at least one pod answers', first(AVAILABLE_CHECKS, facts)),
    condition(reasons.CONFIG_CURRENT, 'every pod runs the present manifest', first(CONFIG_CHECKS, facts)),
    condition(reasons.KEYS_READY, 'every Secret is there', first(KEY_CHECKS, facts)),
    condition(reasons.STORAGES_READY, 'every storage takes part', first(STORAGE_CHECKS, facts)),
    ...exposed(facts),
    ...tokensRouted(facts),
    ...draining(facts),
    ...redirected(facts),
    ...objectsLost(facts),
    ...closuresComplete(facts),
    ...collectionHeld(facts),
    ...withinQuota(facts),
    ...pinned(facts),
    ...monitored(facts),
    ...(isPaused(facts.cache)
      ? [yes(reasons.PAUSED, reasons.IS_PAUSED, `annotation ${PAUSED_ANNOTATION} is "true"`)]
      : []),
  ];
}

const first = (checks: readonly Check[], facts: Facts): Finding | undefined => {
  for (const check of checks) {
    const finding = check(facts);
    if (finding) return finding;
  }
  return undefined;
};

const paused: Check = ({ cache }) =>
  isPaused(cache)
    ? { reason: reasons.IS_PAUSED, status: 'Unknown', message: 'the operator does nothing for this cache' }
    : undefined;

const obstacle: Check = ({ observed }) => observed.obstacles.find((it) => !isOfRoutes(it));

const secrets: Check = ({ cache, observed, outcome }) => {
  const { problems } = observed.secrets;
  const problem = problems.find(({ need }) => !need.isGenerated) ?? problems[0];
  if (!problem) return undefined;
  const { need, reason, message } = problem;
  if (!need.isGenerated || reason !== 'SecretMissing') return { reason, message };
  const isKey = need.use === 'root' || need.use === 'signing';
  if (isKey && isLost(need, cache, observed.children))
    return {
      reason,
      message: `${message} and is not generated again, since clients trust the old key: restore it from a backup, or name another with spec.${need.use === 'root' ? 'rootSecretRef' : 'signing.secretRefs'}`,
    };
  const { error } = outcome;
  if (error !== undefined)
    return { reason: reasons.APPLY_FAILED, message: `Secret ${need.name} is missing: ${messageOf(error)}` };
  return { reason: reasons.PROGRESSING, message: `Secret ${need.name} is being made` };
};

const failedStep: Check = ({ outcome: { error } }) => {
  if (error === undefined) return undefined;
  if (error instanceof StepError) return { reason: error.reason, message: error.message };
  return { reason: reasons.APPLY_FAILED, message: messageOf(error) };
};

const outdated: Check = ({ lacking }) =>
  lacking.length > 0
    ? { reason: reasons.CRD_OUTDATED, message: `the installed CRD does not know status.${lacking.join(', status.')}` }
    : undefined;

const contested: Check = ({ outcome }) => {
  const [note] = outcome.contested;
  if (note === undefined) return undefined;
  return { reason: reasons.CONTESTED, message: `${note} (kubectl get --show-managed-fields tells by whom)` };
};

const waiting: Check = ({ outcome }) => {
  const step = outcome.steps.find((it) => it.do === 'wait');
  return step && { reason: reasons.PROGRESSING, message: step.because };
};

const rejected: Check = ({ observed }) => {
  for (const [pod, { config }] of observed.reports) {
    if (config.error !== null) return { reason: reasons.CONFIG_REJECTED, message: `${pod}: ${config.error}` };
  }
  return undefined;
};

const noReplicas: Check = ({ cache }) =>
  cache.spec.replicas === 0 ? { reason: reasons.NO_REPLICAS, message: 'spec.replicas is 0' } : undefined;

/** Waits that do not end by themselves, by the word that the kubelet has for them. */
const FAILURES = new Set([
  'CrashLoopBackOff',
  'ImagePullBackOff',
  'ErrImagePull',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
]);

/** After so many restarts a pod that is not ready is not on its way any more. */
const CRASHES = 2;

/** A server that has run for so long stays up: the kubelet forgets by then, too, how often it ended. */
const STAYED_MS = 600_000;

const failingPod: Check = ({ observed, now }) => {
  for (const pod of observed.pods) {
    if (isReady(pod) || pod.metadata.deletionTimestamp !== undefined) continue;
    const message = failureOf(pod, now);
    if (message !== undefined) return { reason: reasons.POD_FAILING, message: `${pod.metadata.name}: ${message}` };
  }
  return undefined;
};

function failureOf({ status }: Pod, now: Date): string | undefined {
  for (const { state, lastState, restartCount } of status?.containerStatuses ?? []) {
    const { waiting, running } = state ?? {};
    const { terminated } = lastState ?? {};
    const ended = terminated && `it ended with exit code ${terminated.exitCode}; kubectl logs --previous tells why`;
    if (waiting?.reason !== undefined && FAILURES.has(waiting.reason)) {
      // Of all these waits only this one follows from the end: that may be long ago.
      const cause = ended !== undefined && waiting.reason === 'CrashLoopBackOff' ? ` (${ended})` : '';
      return `${waiting.reason}: ${waiting.message ?? 'no text'}${cause}`;
    }
    // Between two ends it runs for a moment, which is no progress.
    const hasStayed = running?.startedAt !== undefined && +now - Date.parse(running.startedAt) >= STAYED_MS;
    if (ended !== undefined && restartCount >= CRASHES && !hasStayed) return `it does not stay up: ${ended}`;
  }
  const unscheduled = status?.conditions?.find(({ type, status }) => type === 'PodScheduled' && status === 'False');
  return unscheduled && `${unscheduled.reason ?? 'Unschedulable'}: ${unscheduled.message ?? 'no text'}`;
}

const rolling: Check = ({ cache, workload }) => {
  const want = cache.spec.replicas;
  const { observedGeneration = 0, updatedReplicas = 0, readyReplicas = 0, replicas = 0 } = workload?.status ?? {};
  const progressing = (message: string) => ({ reason: reasons.PROGRESSING, message });
  if (!workload || observedGeneration < (workload.metadata.generation ?? 0))
    return progressing('the pods are being made');
  if (updatedReplicas < want) return progressing(`${updatedReplicas} of ${want} pods run the current template`);
  if (replicas > want) return progressing(`${replicas - want} pods too many are being stopped`);
  if (readyReplicas < want) return progressing(`${readyReplicas} of ${want} pods are ready`);
  return undefined;
};

/** The pod may serve as ever; what it runs is what nobody knows. */
function silenceOf({ metadata, status }: Pod): string {
  const where = status?.podIP === undefined ? '' : ` at ${status.podIP}, port ${ADMIN_PORT}`;
  return `${metadata.name} does not tell its state: it does not answer the operator${where}. Whether it has taken over the manifest is not known; what it serves, it serves on`;
}

/** A mounted ConfigMap reaches a pod within about a minute. */
const confirmed: Check = ({ observed, expectedHash }) => {
  for (const pod of observed.pods) {
    if (pod.metadata.deletionTimestamp !== undefined) continue;
    const { name } = pod.metadata;
    const report = observed.reports.get(name);
    if (!report) return { reason: reasons.PROGRESSING, status: 'Unknown', message: silenceOf(pod) };
    if (!report.config.files.some(({ sha256 }) => sha256 === expectedHash))
      return { reason: reasons.PROGRESSING, message: `${name} has not taken over the changed manifest yet` };
  }
  return undefined;
};

const lostKeys: Check = ({ observed }) => {
  for (const [pod, { caches }] of observed.reports) {
    const lost = caches.find(({ keysLost }) => keysLost !== null)?.keysLost;
    if (lost) return { reason: reasons.SECRET_MISSING, message: `${pod}: ${lost}` };
  }
  return undefined;
};

const illDatabase: Check = ({ observed }) => {
  for (const [pod, { caches }] of observed.reports) {
    const error = caches.find(({ databaseError }) => databaseError)?.databaseError;
    if (error) return { reason: reasons.DATABASE_UNAVAILABLE, message: `${pod}: ${error}` };
  }
  return undefined;
};

const untoldStorages: Check = ({ observed }) =>
  observed.reports.size === 0
    ? { reason: reasons.UNKNOWN, status: 'Unknown', message: 'no server has told its state' }
    : undefined;

const noReadyPod: Check = ({ observed }) =>
  observed.pods.some(isReady) ? undefined : { reason: reasons.PROGRESSING, message: 'no pod is ready' };

/** Where the operator could do nothing, or not all of it. */
const unwritten: Check = ({ cache, observed, expectedHash }) => {
  const written = observed.children.get(`ConfigMap/${namesOf(cache).config}`)?.data as
    | Record<string, string>
    | undefined;
  return hashOfText(written?.[CONFIG_FILE] ?? '') === expectedHash
    ? undefined
    : { reason: reasons.PROGRESSING, message: 'the manifest of the pods is not written yet' };
};

const CONFIG_CHECKS: readonly Check[] = [paused, obstacle, unwritten, rejected, confirmed];

const AVAILABLE_CHECKS: readonly Check[] = [noReplicas, noReadyPod];

const KEY_CHECKS: readonly Check[] = [secrets, lostKeys];

const STORAGE_CHECKS: readonly Check[] = [notGrown, illStorage, full, resizing, untoldStorages];

/** What a person mends comes first, then what mends itself, then what works but not wholly. */
const READY_CHECKS: readonly Check[] = [
  paused,
  obstacle,
  secrets,
  failedStep,
  outdated,
  contested,
  waiting,
  rejected,
  lostKeys,
  illDatabase,
  noReplicas,
  failingPod,
  rolling,
  confirmed,
  notGrown,
  illStorage,
  fullEverywhere,
];

function monitored({ cache, inputs }: Facts): NewCondition[] {
  if (!cache.spec.monitoring?.serviceMonitor?.enabled) return [];
  const finding = inputs.served.serviceMonitor
    ? undefined
    : {
        reason: reasons.NOT_SERVED,
        message: 'this cluster knows no ServiceMonitor: the Prometheus operator is not installed',
      };
  return [condition(reasons.MONITORED, 'the ServiceMonitor is there', finding)];
}
