/** A cluster as it was before anybody installed Narwhal there. For stories that are alone in it. */
import { SYSTEM } from './release.ts';
import type { World } from './world.ts';

const CRDS = ['binarycaches', 'workspaces', 'agents'].map((name) => `crd/${name}.narwhal.dev`);

/** Removes release, CRDs with all their objects, and the release's namespace, whoever left them. */
export async function removeEverything(world: World): Promise<void> {
  const releases = await world.helm(['list', '--namespace', SYSTEM, '--short']);
  for (const name of releases.split('\n').filter(Boolean)) await world.helm(['uninstall', name, '--namespace', SYSTEM]);
  const parts = [...CRDS, `namespace/${SYSTEM}`];
  await Promise.all(
    parts.map((part) => world.kubectl(['delete', '--ignore-not-found', part, '--timeout=3m'], { namespace: '' })),
  );
}
