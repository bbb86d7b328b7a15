/**
 * Objects that are moved at one time. A small one is the time of a few trips, to a service and to the database, so that
 * many go side by side; a large one is its bytes, of which the machine has enough to do with a few.
 */
import { Budget, currentCaller } from '../../shares/index.ts';
import { inParallel } from '../flow/index.ts';
import type { Movable } from './mover.ts';

const SMALL_AT_ONCE = 16;
const LARGE_AT_ONCE = 4;
/** What S3 takes in more requests than one. */
const LARGE_BYTES = 8 * 2 ** 20;

/** Runs `work` on each object, in their order. Where one fails no more begin. */
export async function sideBySide(
  objects: Iterable<Movable> | AsyncIterable<Movable>,
  work: (object: Movable) => Promise<void>,
): Promise<void> {
  const room = new Budget({ units: SMALL_AT_ONCE });
  let isOver = false;
  await inParallel(SMALL_AT_ONCE, objects, async (object) => {
    const units = object.size < LARGE_BYTES ? 1 : SMALL_AT_ONCE / LARGE_AT_ONCE;
    const { release } = await room.take({ caller: currentCaller(), units });
    try {
      if (!isOver) await work(object);
    } catch (error) {
      isOver = true;
      throw error;
    } finally {
      release();
    }
  });
}
