/** BinaryCaches of stories, as a user's manifest has them. */
import { randomBytes } from 'node:crypto';
import { generateToken } from '../../../crds/index.ts';
import { generateSecretKey } from '../../../server/nix/index.ts';
import type { World } from './world.ts';

/** Applies caches and waits until they are ready and, behind the gateway of the release, have their names. */
export async function haveCaches(world: World, specs: Readonly<Record<string, object>>): Promise<void> {
  await world.apply(
    ...Object.entries(specs).map(([name, spec]) => ({
      apiVersion: 'narwhal.dev/v1alpha1',
      kind: 'BinaryCache',
      metadata: { name },
      spec,
    })),
  );
  const names = Object.keys(specs).map((name) => `binarycache/${name}`);
  for (const condition of ['Ready', 'Exposed'])
    await world.kubectl(['wait', `--for=condition=${condition}`, ...names, '--timeout=3m']);
}

/** Secrets that a cache with PostgreSQL wants to be given: the manifest's fields that name them. */
export async function giveKeys(world: World, cache: string, host: string): Promise<Readonly<Record<string, unknown>>> {
  const secretOf = (name: string, stringData: Readonly<Record<string, string>>) => ({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name },
    stringData,
  });
  await world.apply(
    secretOf(`${cache}-given`, {
      'root.key': randomBytes(32).toString('base64'),
      'signing-key': generateSecretKey(`${cache}.${host}-1`),
    }),
    secretOf(`${cache}-token-push`, { token: generateToken() }),
  );
  return {
    rootSecretRef: { name: `${cache}-given` },
    signing: { secretRefs: [{ name: `${cache}-given` }] },
    tokens: [{ name: 'push', permissions: ['Write'], secretRef: { name: `${cache}-token-push` } }],
  };
}
