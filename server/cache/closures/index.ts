export { Closures, MOST_COUNTED, type WaitingReport } from './closures.ts';
export { closingStatements, WAITS, waitStatements } from './rows.ts';
