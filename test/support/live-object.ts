/** Objects as a kube-apiserver 1.34 was seen to give them back: with a uid, its defaults, its own forms of quantities. */
import type { AnyObj, Desired } from '../../operator/runtime/index.ts';
import { CREATED } from './operator-fixtures.ts';

/** An object as it is read back after it was applied. */
export function liveOf(object: Desired, before?: AnyObj, change = 1): AnyObj {
  const { kind, metadata } = object;
  return canonical({
    ...before,
    ...object,
    ...DEFAULTS[kind]?.(object, before),
    metadata: {
      ...metadata,
      uid: before?.metadata.uid ?? `uid-of-${kind}-${metadata.name}`,
      resourceVersion: String(100 + change),
      creationTimestamp: CREATED,
      generation: (before?.metadata.generation ?? 0) + 1,
    },
  }) as AnyObj;
}

type Fields = { readonly [field: string]: unknown };

const specOf = ({ spec }: Desired | AnyObj): Fields => (spec ?? {}) as Fields;

const listOf = (value: unknown): Fields[] => (value ?? []) as Fields[];

/** What somebody does to an object. */
export type Change = (object: AnyObj) => AnyObj;

export const withSpec =
  (change: Fields): Change =>
  (object) => ({ ...object, spec: { ...(object.spec as Fields), ...change } });

export const withLabels =
  (change: Readonly<Record<string, string>>): Change =>
  (object) => ({ ...object, metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...change } } });

export const terminating: Change = (object) => ({
  ...object,
  metadata: { ...object.metadata, deletionTimestamp: '2030-01-02T00:00:00Z' },
});

/** What the API server fills in, by kind. */
const DEFAULTS: Readonly<Record<string, (object: Desired, before: AnyObj | undefined) => Fields>> = {
  PersistentVolumeClaim: (object, before) => ({
    spec: { volumeMode: 'Filesystem', storageClassName: 'standard', ...(before && specOf(before)), ...specOf(object) },
    status: before?.status ?? { phase: 'Bound', capacity: (specOf(object).resources as Fields).requests },
  }),
  Service: (object) => ({
    spec: {
      clusterIP: '10.96.0.7',
      clusterIPs: ['10.96.0.7'],
      sessionAffinity: 'None',
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      internalTrafficPolicy: 'Cluster',
      ...specOf(object),
    },
    status: { loadBalancer: {} },
  }),
  StatefulSet: (object) => {
    const { template, ...spec } = specOf(object);
    const { metadata, spec: pod } = template as { metadata: Fields; spec: Fields };
    return {
      spec: {
        ...spec,
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: 0 } },
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
        template: { metadata: { creationTimestamp: null, ...metadata }, spec: podDefaults(pod) },
      },
      status: { replicas: 0, availableReplicas: 0 },
    };
  },
  HTTPRoute: (object) => ({
    spec: {
      ...specOf(object),
      parentRefs: listOf(specOf(object).parentRefs).map((ref) => ({
        group: 'gateway.networking.k8s.io',
        kind: 'Gateway',
        ...ref,
      })),
      rules: listOf(specOf(object).rules).map((rule) => ({
        matches: [{ path: { type: 'PathPrefix', value: '/' } }],
        backendRefs: listOf(rule.backendRefs).map((ref) => ({ group: '', kind: 'Service', weight: 1, ...ref })),
      })),
    },
  }),
  PodDisruptionBudget: () => ({ status: { disruptionsAllowed: 1, currentHealthy: 1, desiredHealthy: 0 } }),
  HorizontalPodAutoscaler: () => ({ status: { desiredReplicas: 0, currentMetrics: null } }),
  Ingress: () => ({ status: { loadBalancer: {} } }),
};

function podDefaults(pod: Fields): Fields {
  const probe = (value: unknown) => {
    const { httpGet, ...rest } = value as { httpGet: Fields };
    return { successThreshold: 1, httpGet: { scheme: 'HTTP', ...httpGet }, ...rest };
  };
  return {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    schedulerName: 'default-scheduler',
    serviceAccount: pod.serviceAccountName,
    ...pod,
    containers: listOf(pod.containers).map((container) => ({
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      imagePullPolicy: 'IfNotPresent',
      ...container,
      startupProbe: probe(container.startupProbe),
      readinessProbe: probe(container.readinessProbe),
      livenessProbe: probe(container.livenessProbe),
    })),
    volumes: listOf(pod.volumes).map((volume) => ({
      ...volume,
      ...(volume.configMap ? { configMap: { defaultMode: 420, ...(volume.configMap as Fields) } } : {}),
      ...(volume.secret ? { secret: { defaultMode: 420, ...(volume.secret as Fields) } } : {}),
    })),
  };
}

/** Quantities that come back in another form. */
const FORMS: ReadonlyMap<string, string> = new Map([
  ['1000m', '1'],
  ['1024Mi', '1Gi'],
  ['0.5Ti', '512Gi'],
  ['1.1Gi', '1181116006400m'],
  ['1.5Gi', '1536Mi'],
]);

/** Quantities in the server's own form; maps and lists that are empty are left out. */
function canonical(value: unknown, field = ''): unknown {
  if (typeof value === 'string' && ['cpu', 'memory', 'storage'].includes(field)) return FORMS.get(value) ?? value;
  if (Array.isArray(value)) return value.map((item) => canonical(item));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).flatMap(([name, inner]): [string, unknown][] => {
    const isEmpty = inner === undefined || (Array.isArray(inner) && inner.length === 0);
    return isEmpty ? [] : [[name, canonical(inner, name)]];
  });
  return Object.fromEntries(entries);
}
