export { CrdGap } from './crd-gap.ts';
export { differsInSubstance, overdueStatus, status } from './status.ts';
