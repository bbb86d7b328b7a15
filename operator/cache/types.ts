/** A BinaryCache as the API server gives it: defaults filled in, rules kept. */
import type { BinaryCacheSpec, BinaryCacheStatus } from '../../crds/index.ts';
import type { Kind, Obj } from '../runtime/index.ts';

export interface Cache extends Obj {
  readonly kind: 'BinaryCache';
  readonly spec: BinaryCacheSpec;
  readonly status?: Partial<BinaryCacheStatus>;
}

export type StorageStatus = NonNullable<BinaryCacheStatus['storages']>[number];

export type PodStatus = NonNullable<BinaryCacheStatus['pods']>[number];

export const BINARY_CACHE: Kind<Cache> = {
  apiVersion: 'narwhal.dev/v1alpha1',
  kind: 'BinaryCache',
  plural: 'binarycaches',
  namespaced: true,
};

/** `true` stops everything that the operator does with a cache. */
export const PAUSED_ANNOTATION = 'narwhal.dev/paused';

/** Whether its owner wants the operator to leave it alone. */
export const isPaused = ({ metadata }: Cache): boolean => metadata.annotations?.[PAUSED_ANNOTATION] === 'true';
