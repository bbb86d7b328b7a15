/** Conditions of a cache, as `kubectl describe` shows them. */
import assert from 'node:assert/strict';
import type { World } from './world.ts';

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** A condition of a cache, if it has it. */
export async function conditionOf(world: World, cache: string, type: string): Promise<Condition | undefined> {
  const { status } = await world.get(`binarycache/${cache}`);
  return (status?.conditions as Condition[] | undefined)?.find((it) => it.type === type);
}

/** Waits until a condition is false for a reason; its message. */
export function untilNot(world: World, cache: string, type: string, reason: string): Promise<string> {
  return world.until(`${type}=False/${reason} of ${cache}`, async () => {
    const condition = await conditionOf(world, cache, type);
    return condition?.status === 'False' && condition.reason === reason && condition.message;
  });
}

/** Fails unless a condition is true now. */
export async function assertTrue(world: World, cache: string, type: string): Promise<void> {
  const condition = await conditionOf(world, cache, type);
  assert.equal(condition?.status, 'True', `${type}: ${condition?.reason}: ${condition?.message}`);
}
