/** Programs of pods that end without a word, and rules of the network between pods: on a cluster that is ours. */
import type { Cluster } from '../../../hack/cluster/cluster.ts';
import { CTR } from '../../../hack/cluster/images.ts';
import type { KubectlInit, World } from './world.ts';

/** Ends the program of a pod's container by SIGKILL, as the kernel does when memory runs out. */
export async function killContainer(world: World, pod: string, init?: KubectlInit): Promise<void> {
  const { status } = await world.get(`pod/${pod}`, init);
  const id = String(status.containerStatuses[0].containerID).replace('containerd://', '');
  await ownCluster(world).machine.run([...CTR, 'tasks', 'kill', '--signal', 'SIGKILL', id]);
}

/** Lets nothing through from some pods to one port of another. Resolves to what undoes it. */
export async function cutOff(
  world: World,
  { name, from, to, port }: { name: string; from: readonly string[]; to: string; port: number },
): Promise<() => Promise<void>> {
  const { machine } = ownCluster(world);
  const table = `inet ${name}`;
  const rules = `table ${table} {
    chain cut {
      type filter hook forward priority 0; policy accept;
      ip saddr { ${from.join(', ')} } ip daddr ${to} tcp dport ${port} drop
    }
  }`;
  await machine.run(['nft', '-f', '-'], { input: rules });
  return async () => {
    await machine.run(['sh', '-c', `nft delete table ${table} 2> /dev/null || ! nft list table ${table} 2> /dev/null`]);
  };
}

export function ownCluster(world: World): Cluster {
  if (!world.cluster) throw new Error('faults are for a cluster that is ours');
  return world.cluster;
}
