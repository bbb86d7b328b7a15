export { Closures, MOST_COUNTED, type WaitingReport } from './closures.ts';
export { closingStatements, insertWaits, type Referring, WAITS, waitStatements, wantedBy } from './rows.ts';
