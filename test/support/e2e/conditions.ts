/** Conditions of caches, as `kubectl describe` shows them. */
import assert from 'node:assert/strict';
import type { Live, World } from './world.ts';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
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

/** As `untilCondition`, for what the operator asks of the servers themselves: it is told to look now, and not in a minute. */
export function lookUntil(
  world: World,
  cache: string,
  type: string,
  status: string,
  reason: string,
): Promise<Condition> {
  return world.until(`${cache} to have ${type}=${status} ${reason}`, async () => {
    const found = conditionOf(await world.get(`binarycache/${cache}`), type);
    if (found?.status === status && found.reason === reason) return found;
    const annotation = `narwhal.dev/reconcile=${performance.now()}`;
    await world.kubectl(['annotate', '--overwrite', `binarycache/${cache}`, annotation]);
    return undefined;
  });
}

/** Fails unless a condition is true now. */
export async function assertTrue(world: World, cache: string, type: string): Promise<void> {
  const condition = conditionOf(await world.get(`binarycache/${cache}`), type);
  assert.equal(condition?.status, 'True', `${type}: ${condition?.reason}: ${condition?.message}`);
}
