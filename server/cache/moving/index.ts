export { MOVABLE, type Movable, Mover, movablesIn } from './mover.ts';
export { openMoving } from './open.ts';
export { lineOf, reportStorages } from './report.ts';
export { sideBySide } from './side-by-side.ts';
export { StorageWork } from './work.ts';
