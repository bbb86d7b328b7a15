/** The addresses of a cluster: a /16 of its own, which nothing on this machine leads elsewhere. */
import { attempt, CommandError } from '../lib/run.mjs';

export interface Network {
  /** The second byte of all addresses. */
  readonly block: number;
  /** The machine's end of the link to the cluster. */
  readonly host: string;
  /** The cluster's end of it. */
  readonly uplink: string;
  /** The node, at which the API server listens as well; the gateway of pods. */
  readonly node: string;
  /** CIDRs. */
  readonly all: string;
  readonly pods: string;
  readonly services: string;
  /** The first Service, the API server's, and that of DNS. */
  readonly api: string;
  readonly dns: string;
  /** Name of the interface on the machine. */
  readonly device: string;
}

const FIRST_BLOCK = 213;
const LAST_BLOCK = 253;
/** Lengths of prefixes. The link's is /30, within the last quarter. */
export const POD_PREFIX = 18;
export const LINK_PREFIX = 30;

function networkOf(block: number): Network {
  const address = (rest: string) => `10.${block}.${rest}`;
  return {
    block,
    host: address('255.1'),
    uplink: address('255.2'),
    node: address('0.1'),
    all: address('0.0/16'),
    pods: address(`0.0/${POD_PREFIX}`),
    services: address('64.0/18'),
    api: address('64.1'),
    dns: address('64.10'),
    device: `narwhal${block}`,
  };
}

/** A network that no route of this machine touches: another cluster's, a VPN's. @param env with `ip` on its PATH */
export async function freeNetwork(env: NodeJS.ProcessEnv): Promise<Network> {
  const result = await attempt('ip', ['-4', 'route', 'show', 'table', 'all'], { env });
  if (!result.ok) throw new CommandError('ip route', result);
  for (let block = FIRST_BLOCK; block <= LAST_BLOCK; block += 1) {
    if (!new RegExp(`\\b10\\.${block}\\.`).test(result.stdout)) return networkOf(block);
  }
  throw new Error(`each of 10.${FIRST_BLOCK}.0.0/16 to 10.${LAST_BLOCK}.0.0/16 is used on this machine`);
}
