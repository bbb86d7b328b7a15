/**
 * What a cluster has of one cache, in memory: takes the steps of plans and gives objects back the way a kube-apiserver
 * 1.34 was seen to return them, with a uid, its defaults and its own forms of quantities. For pure tests of plan();
 * that the steps work is shown against a real API server.
 */
import { desired } from '../../operator/cache/desired.ts';
import type { Inputs } from '../../operator/cache/inputs.ts';
import { generateSecret, ownership } from '../../operator/cache/keys.ts';
import { childKey, type Observed } from '../../operator/cache/observed.ts';
import { plan, type Step } from '../../operator/cache/plan.ts';
import type { Cache } from '../../operator/cache/types.ts';
import type { AnyObj, Desired, Secret } from '../../operator/runtime/index.ts';
import { CREATED, inputsOf, observedOf, secretsView, stored } from './operator-fixtures.ts';

/** More looks than any cache needs until nothing is left to do. */
const MOST_LOOKS = 5;

export class World {
  readonly children = new Map<string, AnyObj>();
  readonly secrets = new Map<string, Secret>();
  #changes = 1;

  /** With Secrets that were made by hand. */
  constructor(secrets: readonly Secret[] = []) {
    for (const secret of secrets) this.secrets.set(secret.metadata.name, secret);
  }

  /** Whatever the plans say is done, until they say nothing more. What was done, in order. */
  settle(cache: Cache, more: Partial<Inputs> = {}): Step[] {
    const done: Step[] = [];
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const steps = this.plan(cache, more);
      if (steps.length === 0) return done;
      for (const step of steps) this.#take(step, cache, inputsOf(more));
      done.push(...steps);
    }
    throw new Error(`there is no end to it: ${done.map(({ because }) => because).join('; ')}`);
  }

  plan(cache: Cache, more: Partial<Inputs> = {}, seen: Partial<Observed> = {}): Step[] {
    const observed = this.observe(cache, seen);
    const inputs = inputsOf({ ...more, tokenHashes: observed.secrets.tokenHashes });
    return plan(cache, desired(cache, inputs), observed);
  }

  observe(cache: Cache, more: Partial<Observed> = {}): Observed {
    const secrets = secretsView(cache, [...this.secrets.values()]);
    return observedOf(cache, { children: new Map(this.children), secrets, ...more });
  }

  get(key: string): AnyObj {
    const found = this.children.get(key);
    if (!found) throw new Error(`there is no ${key}; there are ${[...this.children.keys()].join(', ')}`);
    return found;
  }

  /** Somebody changes an object. */
  edit(key: string, change: (object: AnyObj) => AnyObj): void {
    this.children.set(key, change(this.get(key)));
  }

  #take(step: Step, cache: Cache, inputs: Inputs): void {
    if (step.do === 'generate' && !this.secrets.has(step.need.name)) {
      const { publicKeys } = this.observe(cache).secrets;
      this.secrets.set(step.need.name, stored(generateSecret(step.need, cache, inputs, publicKeys)));
    }
    if (step.do === 'own') this.#own(step.need.name, ownership(step.need, cache));
    if (step.do === 'apply') {
      const key = childKey(step.object);
      this.children.set(key, liveOf(step.object, this.children.get(key), this.#changes++));
    }
    if (step.do === 'delete') this.children.delete(childKey(step.object));
  }

  #own(name: string, { metadata: { ownerReferences = [] } }: Desired): void {
    const secret = this.secrets.get(name);
    if (secret) this.secrets.set(name, { ...secret, metadata: { ...secret.metadata, ownerReferences } });
  }
}

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
