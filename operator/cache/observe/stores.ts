/** Copies of everything that belongs to caches, kept up to date by watches. */
import type { Logger } from 'pino';
import {
  type AnyObj,
  type Api,
  Informer,
  type Kind,
  kinds,
  type Metrics,
  type Obj,
  type Pod,
  withoutManagedFields,
} from '../../runtime/index.ts';
import { CACHE_LABEL, MANAGER } from '../names.ts';
import { BINARY_CACHE, type Cache } from '../types.ts';

/** Kinds of the objects of a cache, in no order. Secrets are not among them: the operator may not list any. */
export const CHILDREN: readonly Kind<Obj>[] = [
  kinds.ServiceAccount,
  kinds.ConfigMap,
  kinds.PersistentVolumeClaim,
  kinds.Service,
  kinds.StatefulSet,
  kinds.PodDisruptionBudget,
  kinds.HorizontalPodAutoscaler,
  kinds.NetworkPolicy,
  kinds.Ingress,
];
/** Kinds that a cluster may not know. */
export const OPTIONAL: readonly Kind<Obj>[] = [kinds.HTTPRoute, kinds.ServiceMonitor];

export interface StoresInit {
  readonly api: Api;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** Empty: all. */
  readonly namespaces: readonly string[];
}

export class Stores {
  readonly caches: Informer<Cache>;
  readonly pods: Informer<Pod>;
  readonly children: readonly Informer<AnyObj>[];

  constructor(init: StoresInit) {
    const ours = {
      ...init,
      labelSelector: `app.kubernetes.io/managed-by=${MANAGER}`,
      indexes: { cache: (object: Obj) => cacheKeyOf(object) ?? [] },
    };
    this.caches = new Informer({ ...init, kind: BINARY_CACHE });
    this.pods = new Informer({ ...ours, kind: kinds.Pod, trim: trimPod });
    this.children = [
      ...CHILDREN.map((kind) => new Informer({ ...ours, kind: kind as Kind<AnyObj> })),
      ...OPTIONAL.map((kind) => new Informer({ ...ours, kind: kind as Kind<AnyObj>, optional: true })),
    ];
  }

  get all(): readonly Informer<never>[] {
    return [this.caches, this.pods, ...this.children] as unknown as readonly Informer<never>[];
  }

  /** The objects of a cache. @param key `namespace/name` */
  childrenOf(key: string): AnyObj[] {
    return this.children.flatMap((informer) => informer.by('cache', key));
  }

  podsOf(key: string): Pod[] {
    return [...this.pods.by('cache', key)].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
}

/** The key of the cache that an object belongs to, by its label: what is kept has no owner reference. */
export function cacheKeyOf({ metadata }: Obj): [string] | undefined {
  const name = metadata.labels?.[CACHE_LABEL];
  return name === undefined ? undefined : [`${metadata.namespace}/${name}`];
}

/** What of a pod decides about anything. Its status changes far more often. */
export function trimPod(pod: Pod): Pod {
  const { metadata, status, spec, apiVersion, kind } = withoutManagedFields(pod);
  const { volumes = [], nodeName } = spec;
  const { phase, podIP, conditions = [], containerStatuses = [] } = status ?? {};
  return {
    apiVersion,
    kind,
    metadata,
    spec: { containers: [], volumes, ...(nodeName !== undefined && { nodeName }) },
    status: {
      ...(phase !== undefined && { phase }),
      ...(podIP !== undefined && { podIP }),
      conditions,
      containerStatuses,
    },
  };
}
