// `npm run cluster:up`, `cluster:load`, `cluster:down`: a cluster on this machine for a person to try things in.
import { parseArgs } from 'node:util';
import { CLUSTERS, type Kind, kindOf } from './which.ts';

const USAGE = `usage: npm run cluster:up | cluster:load [-- ARCHIVE...] | cluster:down

up     starts a cluster, or finds the one that runs
load   gives its nodes the image of Narwhal, that of test clients, and archives of images
down   ends it and removes all that it made

With a Docker engine it is kind's (hack/kind.yaml); on Linux as root without one it is a node of our own.
NARWHAL_CLUSTER=own or =kind decides; NARWHAL_KIND_NODE names kind's image of a node, NARWHAL_CLUSTER_FOLDER
another place for a cluster of our own, so that there can be several.`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { help: { type: 'boolean', short: 'h' } },
});
const [command = '', ...archives] = positionals;

const say = (line: string) => console.log(`cluster: ${line}`);

async function main(): Promise<number> {
  if (values.help || !['up', 'load', 'down'].includes(command)) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  const kind: Kind = await kindOf(process.env);
  const cluster = CLUSTERS[kind];
  if (command === 'up') await cluster.up(say);
  else if (command === 'load') await cluster.load(archives, say);
  else await cluster.down(say);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`cluster: ${(error as Error).message}`);
  process.exitCode = 1;
}
