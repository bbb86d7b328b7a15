/** The operator's pods: which of them leads, and whether it does its work. */
import { SYSTEM } from './release.ts';
import type { World } from './world.ts';

const PLACE = { namespace: SYSTEM };
const METRICS_MS = 1000;

export interface Leader {
  /** Of the process: a name of a pod and something random. */
  readonly identity: string;
  readonly pod: string;
  readonly address: string;
}

/** The operator that holds the lease; waits until one does. @param other than this one */
export function untilLeader(world: World, other?: Leader): Promise<Leader> {
  return world.until('an operator that leads', async () => {
    const { spec } = await world.get('lease/narwhal-operator', PLACE);
    const { holderIdentity: identity = '', leaseDurationSeconds = 0, renewTime } = spec;
    const isOver = Date.parse(renewTime) + leaseDurationSeconds * 1000 < Date.now();
    if (!identity || isOver || identity === other?.identity) return undefined;
    const pods = await world.list('pods', ['-l', 'app.kubernetes.io/component=operator'], PLACE);
    const pod = pods.find(({ metadata }) => identity.startsWith(`${metadata.name}_`));
    return pod && { identity, pod: pod.metadata.name, address: pod.status.podIP };
  });
}

/** Whether an operator says of itself that it leads, on its own port; nobody else is asked. */
export async function saysThatItLeads({ address }: Leader): Promise<boolean> {
  try {
    const answer = await fetch(`http://${address}:9090/metrics`, { signal: AbortSignal.timeout(METRICS_MS) });
    return /^narwhal_operator_leader 1$/m.test(await answer.text());
  } catch {
    return false;
  }
}

/** Takes something away that belongs to a cache, and waits until an operator has put it back. */
export async function untilPutBack(world: World, what: string): Promise<void> {
  const { metadata } = await world.get(what);
  await world.kubectl(['delete', what, '--wait=false']);
  await world.until(`${what} to be put back`, async () => (await world.get(what)).metadata.uid !== metadata.uid);
}
