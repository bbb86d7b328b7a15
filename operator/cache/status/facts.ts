/** What conditions are made of. */
import type { Finding as NewCondition, StatefulSet } from '../../runtime/index.ts';
import type { Outcome } from '../act.ts';
import type { Inputs } from '../desired/index.ts';
import type { Observed } from '../observe/index.ts';
import * as reasons from '../reasons.ts';
import type { Cache, StorageStatus } from '../types.ts';

export type { NewCondition };

export interface Facts {
  readonly cache: Cache;
  readonly inputs: Inputs;
  readonly observed: Observed;
  readonly outcome: Outcome;
  /** SHA-256 of the configuration that the servers should run. */
  readonly expectedHash: string;
  readonly workload: StatefulSet | undefined;
  readonly storages: readonly StorageStatus[];
  /** Places of the status that the installed CRD does not know. */
  readonly lacking: readonly string[];
  readonly now: Date;
}

export interface Finding {
  readonly reason: string;
  readonly message: string;
  readonly status?: 'False' | 'Unknown';
}

export type Check = (facts: Facts) => Finding | undefined;

export function condition(type: string, fine: string, finding: Finding | undefined): NewCondition {
  if (!finding) return yes(type, reasons.OK, fine);
  const { status = 'False', reason, message } = finding;
  return { type, status, reason, message: message.slice(0, MOST_CHARACTERS) };
}

/** The API server refuses 32 Ki; the words of others have any length, and a person reads the first few. */
const MOST_CHARACTERS = 4096;

export const yes = (type: string, reason: string, message: string): NewCondition => ({
  type,
  status: 'True',
  reason,
  message,
});
