/** What must be done so that what is there becomes what is wanted. Pure. */
import {
  type AnyObj,
  applies,
  type ConfigMap,
  type Desired,
  type StatefulSet,
  unwanted,
  wholeUnits,
  withHash,
} from '../../runtime/index.ts';
import type { SecretNeed } from '../desired/index.ts';
import { DATABASE_VOLUME, signingModeIn } from '../desired/index.ts';
import { APPLIED_ANNOTATION, cachesOwning, namesOf, STORAGE_LABEL } from '../names.ts';
import { childKey, type Observed } from '../observe/index.ts';
import type { Cache } from '../types.ts';
import { changedPlaces, restartReasons } from './differences.ts';

export type Step =
  /** Makes a Secret with random content, once. */
  | { readonly do: 'generate'; readonly need: SecretNeed; readonly because: string }
  /** Makes a Secret of keys go with the cache, or stay. */
  | { readonly do: 'own'; readonly need: SecretNeed; readonly because: string }
  /** `isNew`: nothing of ours has this name yet; something of others may. */
  | { readonly do: 'apply'; readonly object: Desired; readonly isNew: boolean; readonly because: string }
  | { readonly do: 'delete'; readonly object: AnyObj; readonly because: string }
  /** Something must happen first that is not ours to do. Nothing after it is done. */
  | { readonly do: 'wait'; readonly because: string };

/** What a step is done to, in words. */
export function subjectOf(step: Exclude<Step, { do: 'wait' }>): string {
  if (step.do === 'generate' || step.do === 'own') return `Secret ${step.need.name}`;
  return `${step.object.kind} ${step.object.metadata.name}`;
}

/** The same for steps that do the same to the same: what is wanted differently is another step. */
export function stepKey(step: Exclude<Step, { do: 'wait' }>): string {
  const wanted = step.do === 'apply' ? (step.object.metadata.annotations?.[APPLIED_ANNOTATION] ?? '') : '';
  return `${step.do} ${subjectOf(step)} ${wanted}`;
}

export function plan(cache: Cache, want: readonly Desired[], observed: Observed): Step[] {
  const earlier = remainsOfEarlier(cache, observed);
  if (earlier !== undefined) return [{ do: 'wait', because: earlier }];
  // Hashes and public keys of what is generated are needed for all else: the next look finds them.
  const secrets = generateSteps(cache, observed);
  if (secrets.length > 0) {
    // That pushers have signed until now is known by the live manifest alone: it stays until the key is there.
    const isToSign = secrets.some((step) => step.do === 'generate' && step.need.use === 'signing');
    // What is revoked stops to work though nothing could be made in its place.
    const config = isToSign ? [] : configSteps(cache, want, observed);
    return [...config, ...removalSteps(cache, observed, true), ...secrets];
  }
  const steps = ownSteps(cache, observed);
  for (const object of want) {
    const live = observed.children.get(childKey(object));
    if (live?.metadata.deletionTimestamp !== undefined) {
      steps.push({ do: 'wait', because: `${live.kind} ${live.metadata.name} is still being deleted` });
      return steps;
    }
    const step = applyStep(object, live);
    if (step) steps.push(step);
  }
  return [...steps, ...deleteSteps(cache, want, observed), ...removalSteps(cache, observed, false)];
}

/** The manifest of the servers, where they have one already. */
function configSteps(cache: Cache, want: readonly Desired[], { children }: Observed): Step[] {
  const key = `ConfigMap/${namesOf(cache).config}`;
  const [object, live] = [want.find((it) => childKey(it) === key), children.get(key)];
  const step = object && live && live.metadata.deletionTimestamp === undefined && applyStep(object, live);
  return step ? [step] : [];
}

/** @param isListed those whose token is listed again, and needs the name; otherwise all others */
function removalSteps({ spec }: Cache, { secrets }: Observed, isListed: boolean): Step[] {
  const listed = new Set((spec.tokens ?? []).map(({ name }) => name));
  return secrets.leftovers
    .filter(({ token, isNamed }) => !isNamed && listed.has(token) === isListed)
    .map(({ token, object }) => ({
      do: 'delete',
      object: object as AnyObj,
      because: `the token ${token} was taken out of the manifest`,
    }));
}

/**
 * An earlier cache of this name is still being collected. What would be taken over of it, keys for example, could go at
 * any moment.
 */
function remainsOfEarlier({ metadata: { name, uid } }: Cache, { children, secrets }: Observed): string | undefined {
  const isOther = (owner: string) => owner !== uid;
  const child = [...children.values()].find((object) => cachesOwning(object).some(isOther));
  const what = child ? `${child.kind} ${child.metadata.name}` : undefined;
  const secret = [...secrets.owners].find(([, owners]) => owners.some(isOther));
  const found = what ?? (secret && `Secret ${secret[0].name}`);
  return found && `${found} of an earlier cache ${name} is still being deleted`;
}

/** Keys first: a token's Secret tells clients the public key. */
function generateSteps(cache: Cache, { secrets, children }: Observed): Step[] {
  const missing = secrets.problems.filter(({ need, reason }) => need.isGenerated && reason === 'SecretMissing');
  const isKey = ({ need }: { need: SecretNeed }) => need.use !== 'token';
  const keys = missing.filter((it) => isKey(it) && !isLost(it.need, cache, children));
  const next = keys.length > 0 ? keys : missing.filter((it) => !isKey(it));
  return next.map(({ need }) => ({ do: 'generate', need, because: `there is no Secret ${need.name} yet` }));
}

/**
 * Whether this cache, or an earlier one of its name whose volume was kept, has had keys: they are never generated a
 * second time, since clients trust the first.
 */
export function hasLivedBefore(cache: Cache, children: Observed['children']): boolean {
  const names = namesOf(cache);
  return (
    children.has(`PersistentVolumeClaim/${names.database}`) ||
    children.has(`StatefulSet/${names.workload}`) ||
    (cache.status?.publicKeys ?? []).length > 0
  );
}

/** Whether a key that is missing must have been there: then another one would be no help. */
export function isLost({ use }: SecretNeed, cache: Cache, children: Observed['children']): boolean {
  if (!hasLivedBefore(cache, children)) return false;
  // As long as its pushers signed it had no key of its own to lose.
  const told = children.get(`ConfigMap/${namesOf(cache).config}`) as ConfigMap | undefined;
  return !(use === 'signing' && told && signingModeIn(told) === 'SelfSigned');
}

function ownSteps(cache: Cache, { secrets }: Observed): Step[] {
  const wanted = cache.spec.reclaimPolicy === 'Delete';
  return [...secrets.owners].flatMap(([need, owners]): Step[] => {
    if (need.use === 'token' || owners.length > 0 === wanted) return [];
    return [{ do: 'own', need, because: `reclaimPolicy is ${cache.spec.reclaimPolicy}` }];
  });
}

function applyStep(want: Desired, live: AnyObj | undefined): Step | undefined {
  const hashed = withHash(want, APPLIED_ANNOTATION);
  if (!live) return { do: 'apply', object: hashed, isNew: true, because: 'it does not exist' };
  // The hash is of what is wanted: what a volume has of its own changes without the manifest.
  const object = want.kind === 'PersistentVolumeClaim' ? grown(hashed, live) : hashed;
  if (applies(live, object)) return undefined;
  const because = isAsApplied(live, object) ? whatChanged(live, object) : 'what is wanted has changed';
  const restart = want.kind === 'StatefulSet' ? restartReasons(live, object) : [];
  return {
    do: 'apply',
    object,
    isNew: false,
    because: restart.length > 0 ? `${because}; pods restart because of ${restart.join(', ')}` : because,
  };
}

/** More places than these would be no sentence any more. */
const MOST_PLACES = 3;

function whatChanged(live: AnyObj, want: Desired): string {
  const places = changedPlaces(live, want).slice(0, MOST_PLACES);
  return `something else has changed ${places.join(', ') || 'it'}`;
}

const isAsApplied = (live: AnyObj, { metadata }: Desired): boolean =>
  live.metadata.annotations?.[APPLIED_ANNOTATION] === metadata.annotations?.[APPLIED_ANNOTATION];

interface VolumeSpec {
  readonly accessModes: readonly string[];
  readonly storageClassName?: string;
  readonly resources: { readonly requests: { readonly storage: string } };
}

/** A volume grows and does nothing else; of one that was kept from an earlier cache, what cannot change stays. */
function grown(want: Desired, live: AnyObj): Desired {
  const wanted = want.spec as unknown as VolumeSpec;
  const { accessModes, storageClassName = wanted.storageClassName, resources } = live.spec as unknown as VolumeSpec;
  const [wantedSize, liveSize] = [wanted.resources.requests.storage, resources.requests.storage];
  const isLarger = (wholeUnits(wantedSize) ?? 0) >= (wholeUnits(liveSize) ?? Infinity);
  return {
    ...want,
    spec: {
      accessModes,
      // Also where the manifest names none: to leave out what was applied once is to ask for its removal.
      ...(storageClassName !== undefined && { storageClassName }),
      resources: { requests: { storage: isLarger ? wantedSize : liveSize } },
    },
  };
}

function deleteSteps(cache: Cache, want: readonly Desired[], { children, pods }: Observed): Step[] {
  const templates = want.flatMap((it) => (isStatefulSet(it) ? [it.spec.template] : []));
  const claimed = new Set(
    [...pods, ...templates].flatMap(({ spec }) => spec?.volumes?.map((it) => it.persistentVolumeClaim?.claimName)),
  );
  // Labels can be copied. What an earlier cache of this name owned is the garbage collector's, and of a volume that it has
  // left nobody knows whether it is drained.
  const gone = unwanted(children.values(), want, { uid: cache.metadata.uid, labels: {} });
  return gone.flatMap((object): Step[] => {
    const { metadata, kind } = object;
    if (metadata.deletionTimestamp !== undefined) return [];
    if (kind !== 'PersistentVolumeClaim')
      return [{ do: 'delete', object, because: 'the manifest no longer asks for it' }];
    // Only after the pods have let go of it, and are not to have it again: a claim that waits for its end could not be used again.
    const isKept = cache.spec.reclaimPolicy === 'Retain' || claimed.has(metadata.name);
    if (isKept || metadata.labels?.[STORAGE_LABEL] === DATABASE_VOLUME) return [];
    return [{ do: 'delete', object, because: 'its storage is drained and removed, and reclaimPolicy is Delete' }];
  });
}

function isStatefulSet(object: Desired): object is Desired & Pick<StatefulSet, 'spec'> {
  return object.kind === 'StatefulSet';
}
