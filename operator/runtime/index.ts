/** A small controller runtime. It knows Kubernetes, and nothing of what it is used for. */
export { type Access, type Credentials, configAccess, isClusterKnown, kubeConfig, podAccess } from './access.ts';
export { Api, type ApiInit, type List, type ListQuery, type WatchEvent, type WatchQuery } from './api.ts';
export { applies, type Ownership, unwanted, withHash } from './apply.ts';
export type { Backoff } from './backoff.ts';
export type * from './builtin.ts';
export { type Condition, type Finding, mergeConditions, microTimestamp, timestamp } from './conditions.ts';
export { Contests, type ContestsInit } from './contests.ts';
export {
  type Controller,
  type ControllerContext,
  type Outcome,
  runControllers,
  type Source,
  watches,
} from './controller.ts';
export { ApiError, type Cause, LeaseLost, messageOf, TerminalError } from './errors.ts';
export { Events, type EventsInit, type Happening } from './events.ts';
export { type Change, Informer, type InformerInit, withoutManagedFields } from './informer.ts';
export { type Kind, kinds, metadataOf } from './kinds.ts';
export { type LeaseInit, lead } from './lease.ts';
export { Metrics, type ReconcileResult } from './metrics.ts';
export {
  type AnyObj,
  type Desired,
  type DesiredMetadata,
  isOwnedBy,
  keyOf,
  type Metadata,
  type Obj,
  type OwnerReference,
  ownerReference,
  type Ref,
  refOf,
} from './objects.ts';
export { Probe, type ProbeInit } from './probe.ts';
export { sameQuantity, wholeUnits } from './quantity.ts';
export { WorkQueue, type WorkQueueInit } from './queue.ts';
export type { ReflectorTimes } from './reflector.ts';
export type { CallOptions } from './requests.ts';
