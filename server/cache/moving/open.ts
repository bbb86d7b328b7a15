/** Objects that change their storage. */
import { Mover, type MoverInit } from './mover.ts';
import { StorageWork, type StorageWorkInit } from './work.ts';

export type MovingInit = MoverInit & Omit<StorageWorkInit, 'mover'>;

/** Nothing moves yet. */
export function openMoving(init: MovingInit): { mover: Mover; work: StorageWork } {
  const mover = new Mover(init);
  return { mover, work: new StorageWork({ ...init, mover }) };
}
