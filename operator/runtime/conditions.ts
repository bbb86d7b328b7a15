/** Conditions of a status, by the convention of Kubernetes. Pure. */

export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** A word in PascalCase that programs may know. */
  readonly reason: string;
  readonly message: string;
  /** The generation that this was found out about. */
  readonly observedGeneration?: number;
  /** When `status` became what it is. */
  readonly lastTransitionTime: string;
}

/** What is found to hold now. */
export type Finding = Omit<Condition, 'lastTransitionTime' | 'observedGeneration'>;

/**
 * The conditions to write: all `findings`, in their order, with the time kept where the status has not changed.
 *
 * @param before what the stored status has
 * @param generation of the object that was looked at
 */
export function mergeConditions(
  before: readonly Condition[],
  findings: readonly Finding[],
  generation: number | undefined,
  now: Date,
): Condition[] {
  return findings.map(({ type, status, reason, message }) => {
    const known = before.find((condition) => condition.type === type);
    return {
      type,
      status,
      reason,
      message,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      lastTransitionTime: known?.status === status ? known.lastTransitionTime : timestamp(now),
    };
  });
}

/** A time as objects carry it: whole seconds. */
export function timestamp(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** A time with six digits after the second, as leases and events need it. */
export function microTimestamp(time: Date): string {
  return time.toISOString().replace('Z', '000Z');
}
