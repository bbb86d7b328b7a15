/** What many clients share, and how nobody gets all of it while others wait. */
export { Budget, type BudgetInit, type Claim, type Lease } from './budget.ts';
export { asCaller, type Caller, currentCaller, type Moving, sends } from './caller.ts';
export { FairQueue, type Waiter } from './fair-queue.ts';
