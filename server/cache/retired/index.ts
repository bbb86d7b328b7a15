export { activeRun, holdRun, markNeeded, NEEDED_BY_NONE } from './needs.ts';
export { areRetired, type RetiredReason, type Retiring, retire, retiredAs, revive } from './retire.ts';
