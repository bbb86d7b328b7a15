/**
 * Kubernetes' own objects, as far as an operator reads them. What we write is plain data: no model of ours or of a
 * library can lose a field of it.
 */
import type { Obj } from './objects.ts';

/** Any other field is there too, unread. */
interface Open {
  readonly [field: string]: unknown;
}

export interface StatusCondition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

export interface Secret extends Obj {
  readonly type?: string;
  readonly immutable?: boolean;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}

export interface ConfigMap extends Obj {
  readonly immutable?: boolean;
  readonly data?: Readonly<Record<string, string>>;
}

export interface PersistentVolumeClaim extends Obj {
  readonly spec: Open & {
    readonly accessModes?: readonly string[];
    readonly storageClassName?: string;
    readonly volumeName?: string;
    readonly resources?: { readonly requests?: { readonly storage?: string } };
  };
  readonly status?: Open & {
    readonly phase?: string;
    readonly capacity?: { readonly storage?: string };
    readonly conditions?: readonly StatusCondition[];
  };
}

export interface Service extends Obj {
  readonly spec: Open & {
    readonly type?: string;
    readonly clusterIP?: string;
    readonly selector?: Readonly<Record<string, string>>;
    readonly ports?: readonly (Open & { readonly name?: string; readonly port: number; readonly protocol?: string })[];
  };
}

interface ContainerState {
  readonly waiting?: { readonly reason?: string; readonly message?: string };
  readonly running?: { readonly startedAt?: string };
  readonly terminated?: { readonly exitCode: number; readonly reason?: string; readonly message?: string };
}

export interface ContainerStatus extends Open {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount: number;
  readonly image: string;
  readonly imageID: string;
  readonly state?: ContainerState;
  readonly lastState?: ContainerState;
}

export interface Container extends Open {
  readonly name: string;
  readonly image?: string;
}

export interface PodSpec extends Open {
  readonly nodeName?: string;
  readonly serviceAccountName?: string;
  readonly containers: readonly Container[];
  readonly volumes?: readonly (Open & {
    readonly name: string;
    readonly persistentVolumeClaim?: { readonly claimName: string };
  })[];
}

export interface Pod extends Obj {
  readonly spec: PodSpec;
  readonly status?: Open & {
    readonly phase?: string;
    readonly reason?: string;
    readonly podIP?: string;
    readonly conditions?: readonly StatusCondition[];
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
}

interface PodTemplate {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: PodSpec;
}

export interface StatefulSet extends Obj {
  readonly spec: Open & { readonly replicas?: number; readonly serviceName?: string; readonly template: PodTemplate };
  readonly status?: Open & {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly updatedReplicas?: number;
    readonly currentRevision?: string;
    readonly updateRevision?: string;
  };
}

export interface Deployment extends Obj {
  readonly spec: Open & { readonly replicas?: number; readonly template: PodTemplate };
  readonly status?: Open & {
    readonly observedGeneration?: number;
    readonly replicas?: number;
    readonly readyReplicas?: number;
    readonly availableReplicas?: number;
    readonly updatedReplicas?: number;
    readonly conditions?: readonly StatusCondition[];
  };
}

export interface LeaseSpec {
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  readonly acquireTime?: string;
  readonly renewTime?: string;
  readonly leaseTransitions?: number;
}

export interface Lease extends Obj {
  readonly spec?: LeaseSpec;
}

export interface StorageClass extends Obj {
  readonly provisioner: string;
  readonly allowVolumeExpansion?: boolean;
  readonly reclaimPolicy?: string;
  readonly volumeBindingMode?: string;
}

export interface CustomResourceDefinition extends Obj {
  readonly spec: Open & {
    readonly group: string;
    readonly versions: readonly (Open & {
      readonly name: string;
      readonly served: boolean;
      readonly storage: boolean;
      readonly schema?: unknown;
    })[];
  };
  readonly status?: Open & { readonly conditions?: readonly StatusCondition[] };
}
