/** A cluster of kind, where there is a Docker engine: real nodes in containers, with a network that enforces policies. */
import path from 'node:path';
import { ensureKind } from '../components/kind.mjs';
import { root } from '../lib/places.mjs';
import { attempt, CommandError } from '../lib/run.mjs';
import type { Say } from './cluster.ts';

const NAME = 'narwhal';
const CONFIG = path.join(root, 'hack/kind.yaml');
/** What the chart runs unless it is told otherwise; an image of that name on the nodes is not pulled. */
const IMAGE = 'ghcr.io/narwhal-cache/narwhal:0.1.0';

export async function kindUp(say: Say): Promise<void> {
  const kind = await ensureKind();
  if ((await output(kind, ['get', 'clusters'])).split('\n').includes(NAME)) {
    say(`there is a cluster ${NAME} already`);
  } else {
    const node = process.env.NARWHAL_KIND_NODE;
    await stream(kind, ['create', 'cluster', '--name', NAME, '--config', CONFIG, ...(node ? ['--image', node] : [])]);
  }
  say(`ready: kubectl --context kind-${NAME} get nodes`);
}

/** Builds the image by the Dockerfile and gives it to the nodes, with further archives. */
export async function kindLoad(archives: readonly string[], say: Say): Promise<void> {
  const kind = await ensureKind();
  await stream('docker', ['build', '--tag', IMAGE, root]);
  await stream(kind, ['load', 'docker-image', IMAGE, '--name', NAME]);
  for (const archive of archives) await stream(kind, ['load', 'image-archive', archive, '--name', NAME]);
  say([IMAGE, ...archives].map((image) => `loaded ${image}`).join('\n'));
}

export async function kindDown(): Promise<void> {
  await stream(await ensureKind(), ['delete', 'cluster', '--name', NAME]);
}

async function output(program: string, args: string[]): Promise<string> {
  const result = await attempt(program, args);
  if (!result.ok) throw new CommandError(`${path.basename(program)} ${args.join(' ')}`, result);
  return result.stdout;
}

/** These take minutes and tell how they go on. */
async function stream(program: string, args: string[]): Promise<void> {
  const result = await attempt(program, args, { inherit: true });
  if (!result.ok) throw new CommandError(`${path.basename(program)} ${args.join(' ')}`, result);
}
