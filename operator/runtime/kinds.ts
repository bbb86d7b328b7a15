/** The kinds that an operator touches, and where the API serves them. */
import type {
  ConfigMap,
  CustomResourceDefinition,
  Deployment,
  Lease,
  PersistentVolumeClaim,
  Pod,
  Secret,
  Service,
  StatefulSet,
  StorageClass,
} from './builtin.ts';
import type { AnyObj, Obj } from './objects.ts';

declare const type: unique symbol;

/** A kind whose objects are `T`. Own kinds are declared by who owns them. */
export interface Kind<T extends Obj = AnyObj> {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Ask for metadata alone: what the rest holds, such as secrets, never reaches us. See {@link metadataOf}. */
  readonly metadataOnly?: true;
  readonly [type]?: T;
}

function namespaced<T extends Obj = AnyObj>(apiVersion: string, kind: string, plural: string): Kind<T> {
  return { apiVersion, kind, plural, namespaced: true };
}

function clusterWide<T extends Obj = AnyObj>(apiVersion: string, kind: string, plural: string): Kind<T> {
  return { apiVersion, kind, plural, namespaced: false };
}

export const kinds = {
  ServiceAccount: namespaced('v1', 'ServiceAccount', 'serviceaccounts'),
  Secret: namespaced<Secret>('v1', 'Secret', 'secrets'),
  ConfigMap: namespaced<ConfigMap>('v1', 'ConfigMap', 'configmaps'),
  PersistentVolumeClaim: namespaced<PersistentVolumeClaim>('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims'),
  Service: namespaced<Service>('v1', 'Service', 'services'),
  Pod: namespaced<Pod>('v1', 'Pod', 'pods'),
  Namespace: clusterWide('v1', 'Namespace', 'namespaces'),
  Event: namespaced('events.k8s.io/v1', 'Event', 'events'),
  StatefulSet: namespaced<StatefulSet>('apps/v1', 'StatefulSet', 'statefulsets'),
  Deployment: namespaced<Deployment>('apps/v1', 'Deployment', 'deployments'),
  PodDisruptionBudget: namespaced('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  HorizontalPodAutoscaler: namespaced('autoscaling/v2', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers'),
  NetworkPolicy: namespaced('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  Ingress: namespaced('networking.k8s.io/v1', 'Ingress', 'ingresses'),
  HTTPRoute: namespaced('gateway.networking.k8s.io/v1', 'HTTPRoute', 'httproutes'),
  ServiceMonitor: namespaced('monitoring.coreos.com/v1', 'ServiceMonitor', 'servicemonitors'),
  Lease: namespaced<Lease>('coordination.k8s.io/v1', 'Lease', 'leases'),
  StorageClass: clusterWide<StorageClass>('storage.k8s.io/v1', 'StorageClass', 'storageclasses'),
  CustomResourceDefinition: clusterWide<CustomResourceDefinition>(
    'apiextensions.k8s.io/v1',
    'CustomResourceDefinition',
    'customresourcedefinitions',
  ),
} as const;

/** The same kind, of which only metadata is read. */
export function metadataOf(kind: Kind<Obj>): Kind<Obj> {
  const { apiVersion, plural, namespaced } = kind;
  return { apiVersion, kind: kind.kind, plural, namespaced, metadataOnly: true };
}

export interface Place {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  /** A subresource, such as `status` or `scale`. */
  readonly sub?: string | undefined;
}

/** The path of a collection, an object, or a subresource of an object. */
export function pathOf(kind: Kind<Obj>, { namespace, name, sub }: Place = {}): string {
  if (kind.namespaced && name !== undefined && namespace === undefined)
    throw new TypeError(`${kind.kind} ${name} needs a namespace`);
  if (!kind.namespaced && namespace !== undefined) throw new TypeError(`a ${kind.kind} lies in no namespace`);
  const words = [kind.plural, name, sub].filter((word) => word !== undefined);
  if (namespace !== undefined) words.unshift('namespaces', namespace);
  // As names they would lead out of the collection; encoding leaves dots as they are.
  if (words.some((word) => ['', '.', '..'].includes(word))) throw new TypeError(`no name of a ${kind.kind}: ${words}`);
  return `${groupPath(kind)}/${words.map(encodeURIComponent).join('/')}`;
}

/** The path of a kind's group and version, which lists what is served there. */
export function groupPath({ apiVersion }: Kind<Obj>): string {
  return apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
}
