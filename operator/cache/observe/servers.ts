/** Asks pods on their admin port how they are. No answer is an answer: the state is unknown then. */
import type { CollectionStatus, ServerStatus, StoragePhase } from '../../../crds/index.ts';
import type { Pod } from '../../runtime/index.ts';
import { ADMIN_PORT } from '../names.ts';

const MAX_BYTES = 4 * 2 ** 20;

/** The `/status` of a pod as JSON; undefined where it does not answer in time. */
export async function askPod(pod: Pod, timeoutMs: number, signal: AbortSignal): Promise<unknown> {
  const address = pod.status?.podIP;
  if (!address) return undefined;
  const host = address.includes(':') ? `[${address}]` : address;
  try {
    const answer = await fetch(`http://${host}:${ADMIN_PORT}/status`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      redirect: 'error',
    });
    if (!answer.ok) return undefined;
    return JSON.parse(await textOf(answer));
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}

async function textOf(answer: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of answer.body ?? []) {
    bytes += piece.length;
    // A pod runs whatever image its owner names.
    if (bytes > MAX_BYTES) throw new Error('the answer is too long');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** What the servers of a cache say, by pod. */
export async function askServers(
  pods: readonly Pod[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ServerStatus>> {
  const answers = await Promise.all(
    pods.map(async (pod) => [pod.metadata.name, await askPod(pod, timeoutMs, signal)] as const),
  );
  return new Map(answers.flatMap(([name, answer]) => (isServerStatus(answer) ? [[name, answer] as const] : [])));
}

/** Whatever a pod says is looked at before it is believed: it runs whatever image its owner names. */
export function isServerStatus(answer: unknown): answer is ServerStatus {
  if (!isRecord(answer) || !isRecord(answer.config)) return false;
  const { files, error } = answer.config;
  return isListOf(files, isRecord) && isTextOrNull(error) && isListOf(answer.caches, isCacheStatus);
}

function isCacheStatus(cache: unknown): boolean {
  if (!isRecord(cache)) return false;
  const { publicKeys, keysLost, storages, databaseError = null, lostObjects = null } = cache;
  const { waiting = null, pins = null, usage = null } = cache;
  const areTexts = isTextOrNull(keysLost) && isTextOrNull(databaseError);
  return (
    isListOf(publicKeys, isPublicKey) &&
    areTexts &&
    (lostObjects === null || isCount(lostObjects)) &&
    isWaiting(waiting) &&
    isUsage(usage) &&
    isPinned(pins) &&
    isListOf(storages, isStorageStatus)
  );
}

function isWaiting(waiting: unknown): boolean {
  if (waiting === null) return true;
  return isRecord(waiting) && isCount(waiting.paths) && (waiting.since === null || isDate(waiting.since));
}

function isPinned(pins: unknown): boolean {
  if (pins === null) return true;
  if (!isRecord(pins) || typeof pins.missing !== 'number') return false;
  return isListOf(pins.firstMissing, (it) => isRecord(it) && isText(it.name) && isText(it.storePath));
}

function isUsage(usage: unknown): boolean {
  if (usage === null) return true;
  if (!isRecord(usage)) return false;
  const { bytes, paths, lastGC } = usage;
  return [bytes, paths].every(isCount) && (lastGC === null || isCollection(lastGC));
}

const STATES: ReadonlySet<unknown> = new Set<CollectionStatus['state']>(['running', 'held', 'done', 'failed']);

function isCollection(it: unknown): boolean {
  if (!isRecord(it)) return false;
  const { run, state, begunAt, message, paths, bytes, removedPaths, removedBytes } = it;
  const areCounts = [run, paths, bytes, removedPaths, removedBytes].every(isCount);
  return areCounts && STATES.has(state) && isDate(begunAt) && isTextOrNull(message);
}

const PHASES: ReadonlySet<unknown> = new Set<StoragePhase>([
  'Ready',
  'Unavailable',
  'Draining',
  'Paused',
  'Drained',
  'Abandoned',
]);

function isStorageStatus(storage: unknown): boolean {
  if (!isRecord(storage)) return false;
  const { name, phase, usedBytes = 0, capacityBytes = 0, objects = 0, movedObjects = 0, lostObjects = 0 } = storage;
  const { reason = '', lastError = '', full = false } = storage;
  const isNamed = isText(name) && /^[a-z][a-z0-9]{0,14}$/.test(name);
  const areCounts = [usedBytes, capacityBytes, objects, movedObjects, lostObjects].every(
    (it) => typeof it === 'number',
  );
  return isNamed && PHASES.has(phase) && areCounts && typeof full === 'boolean' && isText(reason) && isText(lastError);
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isListOf = (value: unknown, is: (item: unknown) => boolean): boolean => Array.isArray(value) && value.every(is);
const isText = (value: unknown): value is string => typeof value === 'string';
/** As `Date` writes it: an API server takes no other. */
const isDate = (value: unknown): boolean =>
  isText(value) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/.test(value) && !Number.isNaN(Date.parse(value));
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
const isTextOrNull = (value: unknown): boolean => value === null || isText(value);
const isPublicKey = (value: unknown): boolean => isText(value) && value.length <= 512;
