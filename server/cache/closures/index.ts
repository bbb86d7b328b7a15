export { Closures, MOST_COUNTED, type WaitingReport } from './closures.ts';
export { referrersOf } from './referrers.ts';
export { closingStatements, FIRST_WAIT, insertWaits, type Referring, WAITS, waitStatements, wantedBy } from './rows.ts';
