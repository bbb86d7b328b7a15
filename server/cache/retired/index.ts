export { activeRun, markNeeded, NEEDED_BY_NONE } from './needs.ts';
export { areRetired, type RetiredReason, type Retiring, retire, revive } from './retire.ts';
