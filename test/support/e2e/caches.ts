/** BinaryCaches of stories: as a user's manifest has them, and what is said of them. */
import type { Live, World } from './world.ts';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

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

export function conditionOf(cache: Live, type: string): Condition | undefined {
  return (cache.status?.conditions as Condition[] | undefined)?.find((it) => it.type === type);
}

/** Waits until a condition says so. */
export function untilCondition(
  world: World,
  cache: string,
  type: string,
  status: string,
  reason?: string,
): Promise<Condition> {
  return world.until(`${cache} to have ${type}=${status} ${reason ?? ''}`, async () => {
    const found = conditionOf(await world.get(`binarycache/${cache}`), type);
    return found?.status === status && (reason === undefined || found.reason === reason) && found;
  });
}
