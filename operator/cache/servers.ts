/** Asks pods on their admin port how they are. No answer is an answer: the state is unknown then. */
import type { ServerStatus } from '../../crds/index.ts';
import type { Pod } from '../runtime/index.ts';
import { ADMIN_PORT } from './names.ts';

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

/** Whatever a pod says is looked at before it is believed; its words end up in conditions only. */
function isServerStatus(answer: unknown): answer is ServerStatus {
  if (typeof answer !== 'object' || answer === null) return false;
  const { config, caches } = answer as Partial<ServerStatus>;
  if (!Array.isArray(config?.files) || !Array.isArray(caches)) return false;
  return caches.every((cache) => Array.isArray(cache?.storages) && Array.isArray(cache.publicKeys));
}
