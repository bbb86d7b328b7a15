/**
 * The conditions of a cache: each is a list of checks in the order of what a person should look at first. The first
 * check that finds something gives the reason. Pure.
 */
import { hashOfText, hostUrls, redirectTrouble, tokenDigits } from '../../../crds/index.ts';
import { messageOf, type Finding as NewCondition, type Pod, type StatefulSet } from '../../runtime/index.ts';
import { type Outcome, StepError } from '../act.ts';
import type { Inputs } from '../desired/index.ts';
import { DATABASE_VOLUME, gatewayUrl, hashesOf, hostNames, isOfRoutes } from '../desired/index.ts';
import { ADMIN_PORT, CONFIG_FILE, namesOf } from '../names.ts';
import { isReady, type Observed, type PublicName, type TokenRefusal } from '../observe/index.ts';
import { isLost } from '../plan/index.ts';
import * as reasons from '../reasons.ts';
import { type Cache, isPaused, PAUSED_ANNOTATION, type StorageStatus } from '../types.ts';
import { isResizing, storageReports, volumeOf } from './storages.ts';

export interface Facts {
  readonly cache: Cache;
  readonly inputs: Inputs;
  readonly observed: Observed;
  readonly outcome: Outcome;
  /** SHA-256 of the configuration that the servers should run. */
  readonly expectedHash: string;
  readonly workload: StatefulSet | undefined;
  readonly storages: readonly StorageStatus[];
  /** Places of the status that the installed CRD does not know. */
  readonly lacking: readonly string[];
  readonly now: Date;
}

interface Finding {
  readonly reason: string;
  readonly message: string;
  readonly status?: 'False' | 'Unknown';
}

type Check = (facts: Facts) => Finding | undefined;

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
    ...monitored(facts),
    ...(isPaused(facts.cache)
      ? [yes(reasons.PAUSED, reasons.IS_PAUSED, `annotation ${PAUSED_ANNOTATION} is "true"`)]
      : []),
  ];
}

function condition(type: string, fine: string, finding: Finding | undefined): NewCondition {
  if (!finding) return yes(type, reasons.OK, fine);
  const { status = 'False', reason, message } = finding;
  return { type, status, reason, message: message.slice(0, MOST_CHARACTERS) };
}

/** The API server refuses 32 Ki; the words of others have any length, and a person reads the first few. */
const MOST_CHARACTERS = 4096;

const yes = (type: string, reason: string, message: string): NewCondition => ({
  type,
  status: 'True',
  reason,
  message,
});

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

const notGrown: Check = ({ outcome }) => {
  const [entry] = outcome.notGrown;
  return entry && { reason: reasons.EXPANSION_NOT_ALLOWED, message: `storage ${entry[0]}: ${entry[1]}` };
};

const illStorage: Check = ({ observed }) => {
  for (const { name, phase, reason, lastError } of storageReports(observed).values()) {
    if (phase === 'Unavailable')
      return {
        reason: reasons.STORAGE_UNAVAILABLE,
        message: `storage ${name}: ${reason ?? lastError ?? 'unavailable'}`,
      };
    if (phase === 'Paused')
      return {
        reason: reasons.DRAIN_PAUSED,
        message: `storage ${name} is not drained further (${reason ?? 'no reason'}): ${lastError ?? 'no text'}`,
      };
  }
  return undefined;
};

/** Names of the storages without room. Where pods differ, one that has found none is believed. */
const fullStorages = ({ observed }: Facts): string[] => {
  const told = [...observed.reports.values()].flatMap(({ caches }) => caches.flatMap(({ storages }) => storages));
  return [...new Set(told.flatMap((it) => (it.full ? [it.name] : [])))];
};

const hasRoomElsewhere = ({ cache }: Facts, names: readonly string[]): boolean =>
  cache.spec.storages.some(({ name, mode }) => mode === 'ReadWrite' && !names.includes(name));

const full: Check = (facts) => {
  const names = fullStorages(facts);
  if (names.length === 0) return undefined;
  const what = names.length === 1 ? `storage ${names[0]} has` : `storages ${names.join(', ')} have`;
  const effect = hasRoomElsewhere(facts, names) ? 'pushes go to the others' : 'pushes are refused, pulls go on';
  const message = `${what} no room: ${effect}; let it grow, raise its capacity, or add a storage`;
  return { reason: reasons.STORAGE_FULL, message };
};

/** While there is room elsewhere the cache does all that it should. */
const fullEverywhere: Check = (facts) => (hasRoomElsewhere(facts, fullStorages(facts)) ? undefined : full(facts));

const resizing: Check = ({ cache, observed }) => {
  for (const { name } of [...cache.spec.storages, { name: DATABASE_VOLUME }]) {
    const volume = volumeOf(cache, observed, name);
    if (volume && isResizing(volume)) {
      const { spec, status } = volume;
      const sizes = `from ${status?.capacity?.storage} to ${spec.resources?.requests?.storage}`;
      return { reason: reasons.RESIZING, message: `volume ${volume.metadata.name} grows ${sizes}` };
    }
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

function exposed({ cache, inputs, observed }: Facts): NewCondition[] {
  const url = gatewayUrl(cache, inputs);
  const urls = url === undefined ? hostUrls(cache.spec) : [url];
  const finding = observed.publicName && publicNameFinding(cache, observed.publicName);
  const noRoute = observed.obstacles.find(isOfRoutes);
  if (!observed.publicName && !noRoute && urls.length === 0) return [];
  return [condition(reasons.EXPOSED, `pulls at ${urls.join(', ')}`, finding ?? noRoute)];
}

function publicNameFinding({ metadata }: Cache, { holder, isServed }: PublicName): Finding | undefined {
  if (holder === undefined) return { reason: reasons.GATEWAY_PENDING, message: 'the public name is not decided yet' };
  if (holder === 'nobody')
    return { reason: reasons.NAMESPACE_NOT_ALLOWED, message: 'the gateway serves no caches of this namespace' };
  if (holder === 'full')
    return {
      reason: reasons.TOO_MANY_NAMES,
      message: `the namespace ${metadata.namespace} has as many public names as it may; those of caches that are gone stay its own until an administrator releases them`,
    };
  if (holder !== 'this cache')
    return {
      reason: reasons.NAME_TAKEN,
      message: `the public name ${metadata.name} belongs to the namespace ${holder.namespace}; rename the cache, or have an administrator release the name`,
    };
  return isServed
    ? undefined
    : { reason: reasons.GATEWAY_PENDING, message: 'the gateway has not taken over the route yet' };
}

/** In the order in which they are told. Who the others are is nobody's business. */
const REFUSALS: readonly (readonly [TokenRefusal, reason: string, why: string])[] = [
  ['taken', reasons.TOKEN_TAKEN, 'another namespace had a token first whose hash begins alike'],
  ['doubtful', reasons.TOKEN_TAKEN, 'another namespace asks at the same moment for a token whose hash begins alike'],
  ['full', reasons.TOO_MANY_TOKENS, 'the gateway routes by as many tokens of this namespace as it may'],
];

function tokensRouted({ cache, inputs, observed }: Facts): NewCondition[] {
  const { refused } = observed.publicName ?? {};
  if (!refused || refused.size === 0) return [];
  for (const [refusal, reason, why] of REFUSALS) {
    const names = [...hashesOf(cache, inputs)].flatMap(([name, hash]) =>
      refused.get(hash.slice(0, tokenDigits)) === refusal ? [name] : [],
    );
    if (names.length === 0) continue;
    const message = `what names no cache in its address is not led here by ${names.length === 1 ? 'the token' : 'the tokens'} ${names.join(', ')}, since ${why}; at its own hosts the cache takes ${names.length === 1 ? 'it' : 'them'}`;
    return [condition(reasons.TOKENS_ROUTED, '', { reason, message })];
  }
  return [];
}

function draining({ observed }: Facts): NewCondition[] {
  const moving = [...storageReports(observed).values()].filter(({ phase }) => phase === 'Draining');
  if (moving.length === 0) return [];
  const texts = moving.map(
    ({ name, objects = 0, movedObjects = 0 }) => `${name}: ${movedObjects} moved, ${objects} left`,
  );
  return [yes(reasons.DRAINING, reasons.MOVING, texts.join('; '))];
}

function redirected({ cache, inputs }: Facts): NewCondition[] {
  const hosts = hostNames(cache, inputs);
  const texts = cache.spec.storages.flatMap(({ name, s3 }) => {
    const text = s3 && redirectTrouble(s3, hosts);
    return text === undefined ? [] : [`storage ${name}: ${text}`];
  });
  return texts.length === 0 ? [] : [yes(reasons.TOKEN_FOLLOWS_REDIRECTS, reasons.SAME_HOST, texts.join('; '))];
}

/** Where servers share a database all of them say the same, one a moment later. */
function objectsLost({ observed }: Facts): NewCondition[] {
  const said = [...observed.reports.values()].flatMap(({ caches }) =>
    caches.map(({ lostObjects }) => lostObjects ?? 0),
  );
  const lost = Math.max(0, ...said);
  if (lost === 0) return [];
  const where = [...storageReports(observed).values()].flatMap(({ name, lostObjects = 0 }) =>
    lostObjects > 0 ? [`storage ${name}: ${lostObjects}`] : [],
  );
  const message = `${lost} ${lost === 1 ? 'object is' : 'objects are'} lost${where.length > 0 ? ` (${where.join(', ')})` : ''}: their paths are not served until they are pushed again; narwhal-server check --repair gives them up`;
  return [yes(reasons.OBJECTS_LOST, reasons.BYTES_MISSING, message)];
}

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
