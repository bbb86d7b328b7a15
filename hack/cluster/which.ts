/** The two ways to a cluster on this machine, behind the same three commands. */
import path from 'node:path';
import { ensureImage } from '../image.mjs';
import { cacheDir } from '../lib/places.mjs';
import { attempt } from '../lib/run.mjs';
import { Cluster, type Say } from './cluster.ts';
import { kindDown, kindLoad, kindUp } from './kind.ts';

export type Kind = 'own' | 'kind';

interface Commands {
  up(say: Say): Promise<void>;
  load(archives: readonly string[], say: Say): Promise<void>;
  down(say: Say): Promise<void>;
}

/** Where the cluster lies: NARWHAL_CLUSTER_FOLDER, for several side by side, or a place of its own. */
function ownFolder(): string {
  return path.resolve(process.env.NARWHAL_CLUSTER_FOLDER ?? path.join(cacheDir(), 'cluster/own'));
}

/** Which of the two this machine can have. */
export async function kindOf({ NARWHAL_CLUSTER: wanted }: NodeJS.ProcessEnv): Promise<Kind> {
  if (wanted === 'own' || wanted === 'kind') return wanted;
  if (wanted) throw new Error(`NARWHAL_CLUSTER is own or kind, not ${wanted}`);
  if ((await attempt('docker', ['info'])).ok) return 'kind';
  if (process.platform === 'linux' && process.getuid?.() === 0) return 'own';
  throw new Error('a cluster needs a Docker engine that runs, for kind, or root on Linux, for a node of its own');
}

export const CLUSTERS: Readonly<Record<Kind, Commands>> = {
  own: {
    async up(say) {
      const { kubeconfig, kubectl, programs } = await Cluster.up(ownFolder(), say);
      say(`ready: export KUBECONFIG=${kubeconfig} PATH=$PATH:${path.dirname(kubectl)}`);
      say(`Services and pods are reached from here by their addresses; helm is in ${programs.kubernetes} too`);
    },
    async load(archives, say) {
      const cluster = await Cluster.find(ownFolder());
      if (!cluster) throw new Error('there is no cluster: npm run cluster:up');
      for (const image of [await ensureImage('narwhal'), await ensureImage('client')]) {
        await cluster.load(image.file, image);
        say(`loaded ${image.reference}`);
      }
      for (const archive of archives) {
        await cluster.load(archive);
        say(`loaded ${archive}`);
      }
    },
    async down(say) {
      await Cluster.down(ownFolder());
      say('gone');
    },
  },
  kind: { up: kindUp, load: kindLoad, down: kindDown },
};
