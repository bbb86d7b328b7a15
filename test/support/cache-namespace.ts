/** A namespace in which a test has caches: what it asks for there, and what has become of it. */
import { type Kind, kinds, type Obj } from '../../operator/runtime/index.ts';
import { pathOf } from '../../operator/runtime/kinds.ts';
import { BINARY_CACHE, type CacheCondition, conditionOf, untilCondition } from './cache-conditions.ts';
import type { Kubernetes } from './kubernetes.ts';
import type { ApiAnswer, ApiObject } from './kubernetes-api.ts';
import { Operator, type OperatorInit } from './operator.ts';
import { until } from './server.ts';

/** Every kind that a cache consists of. */
const KINDS: readonly Kind<Obj>[] = [
  kinds.ServiceAccount,
  kinds.Secret,
  kinds.ConfigMap,
  kinds.PersistentVolumeClaim,
  kinds.Service,
  kinds.StatefulSet,
  kinds.PodDisruptionBudget,
  kinds.HorizontalPodAutoscaler,
  kinds.NetworkPolicy,
  kinds.Ingress,
  kinds.HTTPRoute,
  kinds.ServiceMonitor,
];

/** A token, a Secret's value or a manifest is as its type says; all else is looked at by the test. */
export interface Found extends Obj {
  readonly metadata: Obj['metadata'] & { readonly managedFields?: readonly ManagedFields[] };
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
  readonly data?: Readonly<Record<string, string>>;
}

export interface ManagedFields {
  readonly manager: string;
  readonly operation: string;
  readonly time: string;
  readonly subresource?: string;
}

export class CacheNamespace {
  readonly kubernetes: Kubernetes;
  readonly name: string;
  readonly #operators: Operator[] = [];

  private constructor(kubernetes: Kubernetes, name: string) {
    this.kubernetes = kubernetes;
    this.name = name;
  }

  static async make(kubernetes: Kubernetes, prefix: string): Promise<CacheNamespace> {
    return new CacheNamespace(kubernetes, await kubernetes.namespace(prefix));
  }

  /** An operator that looks after this namespace alone, and has its lease here. */
  async operator(init: Partial<OperatorInit> = {}): Promise<Operator> {
    const operator = await this.idleOperator(init);
    await operator.restart();
    return operator;
  }

  /** One that is still to be started. */
  async idleOperator(init: Partial<OperatorInit> = {}): Promise<Operator> {
    const args = ['--watch-namespaces', this.name, ...(init.args ?? [])];
    const { kubeconfig } = this.kubernetes;
    const operator = await Operator.idle({ kubeconfig, namespace: this.name, ...init, args });
    this.#operators.push(operator);
    return operator;
  }

  /** Ends its operators. */
  async remove(): Promise<void> {
    await Promise.all(this.#operators.map((operator) => operator.remove()));
  }

  /** Applies an object as `kubectl apply --server-side` does: what is no longer said is removed. */
  apply(object: ManifestOf, manager = 'kubectl'): Promise<Found> {
    return this.tryApply(object, manager).then(contentOf);
  }

  /** Any answer to that. */
  tryApply(object: ManifestOf, manager = 'kubectl'): Promise<ApiAnswer> {
    const kind = kindOf(object.kind);
    const path = `${this.path(kind, object.metadata.name)}?fieldManager=${manager}&force=true&fieldValidation=Strict`;
    return this.kubernetes.request(path, { method: 'PATCH', type: 'application/apply-patch+yaml', body: object });
  }

  /** Applies a BinaryCache, with one disk unless the spec says otherwise. */
  cache(name: string, spec: Readonly<Record<string, unknown>> = {}, metadata: object = {}): Promise<Found> {
    return this.apply(cacheManifest(name, spec, metadata));
  }

  secret(name: string, stringData: Readonly<Record<string, string>>, more: object = {}): Promise<Found> {
    return this.apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData, ...more });
  }

  /** A ServiceAccount that may do everything, and its token. */
  async administrator(name: string): Promise<string> {
    await this.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name } });
    const binding = ['--clusterrole=cluster-admin', `--serviceaccount=${this.name}:${name}`];
    await this.kubernetes.kubectl(['create', 'clusterrolebinding', `${this.name}-${name}`, ...binding]);
    return this.kubernetes.token(this.name, name);
  }

  /** A merge patch, of the status where a subresource says so. */
  patch(kind: Kind<Obj>, name: string, patch: object, sub = ''): Promise<Found> {
    const path = `${this.path(kind, name)}${sub && `/${sub}`}?fieldManager=a-person`;
    return this.kubernetes
      .request(path, { method: 'PATCH', type: 'application/merge-patch+json', body: patch })
      .then(contentOf);
  }

  /** Sets annotations of a cache, or removes those that are null. */
  annotate(cache: string, annotations: Readonly<Record<string, string | null>>): Promise<Found> {
    return this.patch(BINARY_CACHE, cache, { metadata: { annotations } });
  }

  async find(kind: Kind<Obj>, name: string): Promise<Found | undefined> {
    const answer = await this.kubernetes.request(this.path(kind, name));
    return answer.status === 404 ? undefined : contentOf(answer);
  }

  /** @throws where there is none */
  async get(kind: Kind<Obj>, name: string): Promise<Found> {
    return contentOf(await this.kubernetes.request(this.path(kind, name)));
  }

  async delete(kind: Kind<Obj>, name: string): Promise<void> {
    await this.kubernetes.expect(this.path(kind, name), { method: 'DELETE' });
  }

  /** All objects that are labelled as this cache's, by `Kind/name`; those of the whole namespace if none is named. */
  async objects(cache?: string): Promise<Map<string, Found>> {
    const query = cache === undefined ? '' : `?labelSelector=narwhal.dev/cache=${cache}`;
    const list = async (kind: Kind<Obj>): Promise<[string, Found][]> => {
      const { status, body } = await this.kubernetes.request(this.path(kind) + query);
      const items = status === 404 ? [] : ((body.items ?? []) as Found[]);
      // What is in a list does not say its kind.
      return items.map((it) => [`${kind.kind}/${it.metadata.name}`, { ...it, kind: kind.kind }]);
    };
    const lists = await Promise.all(KINDS.map(list));
    return new Map(lists.flat());
  }

  /** The resource version of each object of a cache, and of the cache itself: they change with every write. */
  async versions(cache: string): Promise<Record<string, string>> {
    const all = new Map(await this.objects(cache)).set('BinaryCache', await this.get(BINARY_CACHE, cache));
    return Object.fromEntries([...all].map(([key, { metadata }]) => [key, metadata.resourceVersion]));
  }

  /** What is in each Secret of a cache. */
  async secrets(cache: string): Promise<Record<string, Found['data']>> {
    const all = [...(await this.objects(cache)).values()].filter(({ kind }) => kind === 'Secret');
    return Object.fromEntries(all.map(({ metadata, data }) => [metadata.name, data]));
  }

  condition(cache: string, type: string): Promise<CacheCondition | undefined> {
    return conditionOf(this.kubernetes, this.name, cache, type);
  }

  until(cache: string, type: string, status: string, reason?: string): Promise<CacheCondition> {
    return untilCondition(this.kubernetes, this.name, cache, type, status, reason);
  }

  /** Waits until its public name is its own. The same reason tells of a name that nobody has decided about yet. */
  async untilNamed(cache: string): Promise<void> {
    await until(`${cache} has its public name`, async () => {
      const { reason, message } = (await this.condition(cache, 'Exposed')) ?? {};
      return reason === 'GatewayPending' && message === 'the gateway has not taken over the route yet';
    });
  }

  /**
   * Waits until everything that a cache consists of has been applied for its present manifest. Without nodes that is as
   * far as it comes: Ready then says that its pods are being made.
   */
  async settled(cache: string): Promise<void> {
    let told = '';
    const isSettled = async () => {
      const { metadata, status } = await this.get(BINARY_CACHE, cache);
      const ready = ((status?.conditions ?? []) as CacheCondition[]).find(({ type }) => type === 'Ready');
      told = `${ready?.reason}: ${ready?.message}`;
      return (
        ready?.observedGeneration === metadata.generation &&
        /: .*\bpods\b/.test(told) &&
        ready?.reason === 'Progressing'
      );
    };
    await until(`${cache} has all its objects`, isSettled).catch((error: Error) => {
      throw new Error(`${error.message}; Ready is ${told}`);
    });
  }

  /** Undoes what the operator does to an object as soon as it is done, until that was so many times; how long it took. */
  async fight(kind: Kind<Obj>, name: string, { isOurs, undo, times }: Fight): Promise<number> {
    const start = performance.now();
    for (let done = 0; done < times; done++) {
      await undo();
      await until('it is set right', async () => isOurs(await this.find(kind, name)));
    }
    return performance.now() - start;
  }

  path(kind: Kind<Obj>, name?: string): string {
    return pathOf(kind, { namespace: this.name, name });
  }
}

export interface Fight {
  /** Whether the object is as the operator wants it. */
  readonly isOurs: (now?: Found) => boolean;
  readonly undo: () => Promise<unknown>;
  readonly times: number;
}

/** An object as a person writes it. */
export interface ManifestOf {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

export function cacheManifest(
  name: string,
  spec: Readonly<Record<string, unknown>> = {},
  metadata: object = {},
): ManifestOf {
  const { apiVersion, kind } = BINARY_CACHE;
  return {
    apiVersion,
    kind,
    metadata: { name, ...metadata },
    spec: { storages: [{ name: 'disk', local: {} }], ...spec },
  };
}

function kindOf(name: string): Kind<Obj> {
  const found = [...Object.values(kinds), BINARY_CACHE].find(({ kind }) => kind === name);
  if (!found) throw new Error(`no kind ${name}`);
  return found;
}

function contentOf({ status, body }: ApiAnswer): Found {
  if (status >= 200 && status < 300) return body as ApiObject & Found;
  throw new Error(`${status}: ${body.message}`);
}
