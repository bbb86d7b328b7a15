/** What a person needs to see why a story failed: objects, events and logs, as files. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { savePodLogs } from '../../../hack/lib/pod-logs.mjs';
import type { World } from './world.ts';

const SYSTEM = ['narwhal-system', 'kube-system'];
/** No Secrets: what is saved is read by people. */
const KINDS = [
  'binarycaches.narwhal.dev,pods,statefulsets,deployments,jobs,services,endpointslices,persistentvolumeclaims',
  'configmaps,poddisruptionbudgets,networkpolicies,leases',
];

/** Saves all of it; the folder. */
export async function saveEvidence(world: World, test: string): Promise<string> {
  const parent = process.env.NARWHAL_TEST_LOGS ?? path.join(os.tmpdir(), 'narwhal-e2e');
  const name = test.replace(/\W+/g, '-').slice(0, 60);
  const folder = path.join(parent, `${world.namespace}-${name}`);
  for (const namespace of [...world.namespaces, ...SYSTEM]) {
    const place = path.join(folder, namespace);
    fs.mkdirSync(place, { recursive: true });
    const save = async (file: string, args: readonly string[]) => {
      const { stdout, stderr } = await world.tryKubectl(args, { namespace });
      fs.writeFileSync(path.join(place, file), stdout + stderr);
    };
    await save('objects.txt', ['get', KINDS.join(','), '-o', 'wide']);
    await save('objects.yaml', ['get', KINDS.join(','), '-o', 'yaml']);
    await save('events.txt', ['get', 'events', '--sort-by=.metadata.creationTimestamp']);
    const pods = (await world.tryKubectl(['get', 'pods', '-o', 'name'], { namespace })).stdout.split('\n');
    for (const pod of pods.filter(Boolean)) {
      const logs = `${pod.replace('pod/', '')}.log`;
      await save(logs, ['logs', pod, '--all-containers', '--tail=2000', '--ignore-errors']);
      await save(`previous-${logs}`, ['logs', pod, '--all-containers', '--previous', '--ignore-errors']);
    }
  }
  return folder;
}

/** Keeps what servers of the story have logged for the search for secrets, where there is one. It goes with their pods. */
export function keepLogs({ cluster, namespaces }: World): void {
  const logs = process.env.NARWHAL_TEST_LOGS;
  if (!cluster || logs === undefined) return;
  savePodLogs(path.join(cluster.machine.folder, 'pods'), logs, (namespace) => namespaces.includes(namespace));
}
