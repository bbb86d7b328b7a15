/** What is there of a cache now. */
import type { ServerStatus } from '../../../crds/index.ts';
import type { AnyObj, Desired, Obj, Pod } from '../../runtime/index.ts';
import type { Obstacle } from '../desired/index.ts';
import type { SecretsView } from '../secrets/index.ts';

/**
 * Why the gateway does not lead to a cache by a token: another namespace had a token first whose hash begins alike, or
 * asked for it at the same moment, or this namespace has as many as it may.
 */
export type TokenRefusal = 'taken' | 'doubtful' | 'full';

/** The public name of a cache, `<cache>.<host of the gateway>`. */
export interface PublicName {
  /** Whose it is; `full`: the namespace has as many names as it may; undefined: not decided yet. */
  readonly holder: 'this cache' | { readonly namespace: string } | 'nobody' | 'full' | undefined;
  /** Whether every gateway pod runs a table with this cache in it. */
  readonly isServed: boolean;
  /** Beginnings of the hashes of tokens that the gateway does not route by, and why. */
  readonly refused: ReadonlyMap<string, TokenRefusal>;
}

export interface Observed {
  /** Live objects that were made for this cache, by `Kind/name`: volumes and workload, not Secrets and pods. */
  readonly children: ReadonlyMap<string, AnyObj>;
  readonly pods: readonly Pod[];
  readonly secrets: SecretsView;
  /** What the servers in the pods say, by name of the pod. One that does not answer has no entry. */
  readonly reports: ReadonlyMap<string, ServerStatus>;
  readonly obstacles: readonly Obstacle[];
  /** Undefined: there is no gateway. */
  readonly publicName: PublicName | undefined;
}

export const childKey = ({ kind, metadata }: Obj | Desired): string => `${kind}/${metadata.name}`;

export function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}
