/** One cache in a cluster as its owner sees it: applied, looked at, pushed to and pulled from. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { ServerStatus } from '../../crds/index.ts';
import type { Cache, StorageStatus } from '../../operator/cache/types.ts';
import type { Pod } from '../../operator/runtime/index.ts';
import { built } from './built.ts';
import type { CacheCondition } from './cache-conditions.ts';
import type { Cluster } from './cluster.ts';
import { pathOf } from './crds.ts';
import { manifestOf, type Value } from './manifests.ts';
import type { Operator } from './operator.ts';
import type { PushTarget } from './push.ts';
import { type RunResult, runToEnd } from './run.ts';
import { until } from './server.ts';

const OPERATOR = built('dist/operator/main.js');

/** Settings of servers that look often and wait for nothing. */
const QUICK: Readonly<Record<string, string>> = {
  NARWHAL_RELOAD_INTERVAL: '0.1',
  NARWHAL_STORAGE_RETRY: '0.1',
  NARWHAL_TRANSIENT_RETRY: '0.5',
  NARWHAL_HOUSEKEEPING_INTERVAL: '0.2',
  NARWHAL_MOVE_GRACE: '0.1',
  NARWHAL_LOG_LEVEL: 'debug',
};

/** Flags of an operator that looks often, and keeps its lease on a busy machine. */
const FLAGS = ['--lease-duration', '15', '--renew-deadline', '10', '--lease-retry', '0.2', '--status-interval', '1'];

export interface LivingCacheInit {
  readonly name?: string;
  /** Documents that are there before the cache, such as Secrets. */
  readonly before?: readonly string[];
  /** Flags of the operator. */
  readonly args?: readonly string[];
  /** Namespaces that it looks after too. */
  readonly namespaces?: readonly string[];
}

/** A token that may push. */
export const PUSH: Value = { name: 'push', permissions: ['Write'] };

export class LivingCache implements PushTarget {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly name: string;
  readonly operator: Operator;
  /** A port of this machine that leads to the Service. */
  readonly url: string;
  /** Those that the operator looks after. */
  readonly #namespaces: readonly string[];
  #looks = 0;

  private constructor(
    parts: Pick<LivingCache, 'cluster' | 'namespace' | 'name' | 'operator' | 'url'>,
    namespaces: readonly string[],
  ) {
    this.#namespaces = namespaces;
    this.cluster = parts.cluster;
    this.namespace = parts.namespace;
    this.name = parts.name;
    this.operator = parts.operator;
    this.url = parts.url;
  }

  /** A namespace with an operator that looks after it, and no cache yet. */
  static async prepare(cluster: Cluster, init: LivingCacheInit = {}): Promise<LivingCache> {
    const { name = 'main', args = [] } = init;
    const namespace = await cluster.kubernetes.namespace('life');
    const namespaces = [namespace, ...(init.namespaces ?? [])];
    const operator = await cluster.operator(namespace, {
      args: [...FLAGS, '--watch-namespaces', namespaces.join(','), ...args],
    });
    const url = await cluster.services.open({ namespace, name });
    return new LivingCache({ cluster, namespace, name, operator, url }, namespaces);
  }

  /** Applies a manifest and waits until the cache is ready. */
  static async start(cluster: Cluster, spec: Value, init: LivingCacheInit = {}): Promise<LivingCache> {
    const cache = await LivingCache.prepare(cluster, init);
    try {
      for (const document of init.before ?? []) await cluster.apply(cache.namespace, document);
      await cache.applied(spec);
    } catch (error) {
      await cache.remove();
      throw error;
    }
    return cache;
  }

  /** Where people reach it. */
  get serviceUrl(): string {
    return `http://${this.name}.${this.namespace}.svc`;
  }

  api(): string {
    return `${this.url}/api/v1/cache/${this.name}`;
  }

  async auth(token = 'push'): Promise<Record<string, string>> {
    return { authorization: `Bearer ${await this.token(token)}` };
  }

  /** The same cache for the holder of another token than `push`. */
  with(token: string): PushTarget {
    return { url: this.url, api: () => this.api(), auth: () => this.auth(token) };
  }

  /** Text of a token that the operator has generated. */
  async token(name = 'push'): Promise<string> {
    return (await this.secret(`${this.name}-token-${name}`)).token ?? '';
  }

  /** Values of a Secret. */
  async secret(name: string): Promise<Readonly<Record<string, string>>> {
    const { data = {} } = (await this.#get('secrets', name)) as { data?: Record<string, string> };
    return Object.fromEntries(Object.entries(data).map(([key, text]) => [key, Buffer.from(text, 'base64').toString()]));
  }

  /** The manifest as JSON, with settings of the server that save time. */
  manifest(spec: Value): string {
    const template = (spec.podTemplate ?? {}) as { spec?: { env?: { name: string }[] } };
    const own = template.spec?.env ?? [];
    const quick = Object.entries(QUICK).map(([name, value]) => ({ name, value }));
    const env = [...quick.filter(({ name }) => !own.some((it) => it.name === name)), ...own];
    const podTemplate = { ...template, spec: { ...template.spec, env } };
    return JSON.stringify(manifestOf('BinaryCache', { tokens: [PUSH], ...spec, podTemplate }, { name: this.name }));
  }

  apply(spec: Value): Promise<string> {
    return this.cluster.apply(this.namespace, this.manifest(spec));
  }

  /** Applies and waits until it is ready. */
  async applied(spec: Value): Promise<void> {
    await this.apply(spec);
    await this.until('Ready', 'True');
  }

  /** Waits for a condition. */
  until(type: string, status: string, reason?: string): Promise<CacheCondition> {
    return this.cluster.until(this.namespace, this.name, type, status, reason);
  }

  condition(type: string): Promise<CacheCondition | undefined> {
    return this.cluster.condition(this.namespace, this.name, type);
  }

  async object(): Promise<Cache> {
    return (await this.cluster.kubernetes.expect(pathOf('BinaryCache', this.namespace, this.name))) as unknown as Cache;
  }

  /** An entry of `status.storages`. */
  async storage(name: string): Promise<StorageStatus | undefined> {
    return (await this.object()).status?.storages?.find((it) => it.name === name);
  }

  async untilStorage(name: string, phase: string): Promise<StorageStatus> {
    let found: StorageStatus | undefined;
    await until(
      `storage ${name} is ${phase}`,
      async () => {
        found = await this.storage(name);
        return found?.phase === phase;
      },
      60_000,
    ).catch((error: unknown) => {
      throw new Error(`storage ${name} is not ${phase} but ${JSON.stringify(found)}`, { cause: error });
    });
    if (!found) throw new Error('unreachable');
    return found;
  }

  /** Writes a lie into the status, as whoever may write statuses can, while the operator is not there to write better. */
  async forge(storages: Readonly<Record<string, string>>): Promise<void> {
    const status = { storages: Object.entries(storages).map(([name, phase]) => ({ name, phase })) };
    const path = `${pathOf('BinaryCache', this.namespace, this.name)}/status`;
    const type = 'application/merge-patch+json';
    await this.cluster.kubernetes.expect(path, { method: 'PATCH', type, body: { status } });
  }

  /** Ends the operator at once. Nobody waits until its lease has run out. */
  async killOperator(): Promise<void> {
    await this.operator.kill();
    await this.kubectl('delete', 'lease', 'narwhal-operator', '--ignore-not-found');
  }

  /** Has the operator look at it, and waits until it has. */
  async looked(): Promise<void> {
    const count = () => this.operator.metric('narwhal_operator_reconcile_seconds_count', { controller: 'caches' });
    const before = await count();
    this.#looks += 1;
    await this.kubectl('annotate', '--overwrite', 'bc', this.name, `narwhal.dev/reconcile=${this.#looks}`);
    await until('the operator has looked', async () => (await count()) > before);
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return this.cluster.kubernetes.kubectl(['-n', this.namespace, ...args]);
  }

  async pod(ordinal = 0): Promise<Pod> {
    return (await this.#get('pods', `${this.name}-${ordinal}`)) as unknown as Pod;
  }

  /** What makes a pod the same one: uid, starts of its container, process id. */
  async life(ordinal = 0): Promise<{ uid: string; restarts: number; pid: number }> {
    const { metadata, status } = await this.pod(ordinal);
    const restarts = status?.containerStatuses?.[0]?.restartCount ?? 0;
    return { uid: metadata.uid, restarts, pid: this.process(ordinal)?.pid ?? 0 };
  }

  process(ordinal = 0) {
    return this.cluster.kubelet.processOf(this.namespace, `${this.name}-${ordinal}`);
  }

  /** Deletes a pod and waits until its successor is ready. */
  async replacePod(ordinal = 0): Promise<void> {
    const { uid } = await this.life(ordinal);
    await this.kubectl('delete', 'pod', `${this.name}-${ordinal}`);
    const isNew = ({ metadata, status }: Pod) =>
      metadata.uid !== uid && status?.conditions?.some((it) => it.type === 'Ready' && it.status === 'True');
    await until(
      'the new pod is ready',
      async () => (await this.pod(ordinal).then(isNew, () => false)) ?? false,
      45_000,
    );
    // Connections to the old one are kept for the next request, which would be the first to notice.
    await until('it answers', () =>
      fetch(`${this.url}/nix-cache-info`)
        .then((answer) => answer.text())
        .then(
          () => true,
          () => false,
        ),
    );
  }

  /** What the server in a pod says of itself. */
  async server(ordinal = 0): Promise<ServerStatus> {
    const ip = this.cluster.kubelet.ipOf(this.namespace, `${this.name}-${ordinal}`);
    return (await (await fetch(`http://${ip}:9090/status`)).json()) as ServerStatus;
  }

  /** `narwhal-operator plan -f` of a manifest, as its owner runs it before applying it. */
  async plan(spec: Value): Promise<RunResult> {
    const { kubeconfig, folder } = this.cluster.kubernetes;
    const file = path.join(folder, `${this.namespace}.json`);
    await writeFile(file, this.manifest(spec));
    // The image that the operator has been told of, too.
    const words = ['plan', '-f', file, '-n', this.namespace, '--kubeconfig', kubeconfig, '--image', 'narwhal:test'];
    return runToEnd([process.execPath, OPERATOR, ...words], { env: { PATH: process.env.PATH, HOME: folder } });
  }

  /** Ends the operator and deletes its namespaces; resolves when no pod of them runs any more. */
  async remove(): Promise<void> {
    await this.operator.remove();
    const { kubernetes, watched } = this.cluster;
    const places = this.#namespaces.map((name) => `namespaces/${name}`);
    for (const place of places) {
      // The namespace controller waits for five seconds before it deletes anything.
      const paths = [
        `/apis/apps/v1/${place}/deployments`,
        `/apis/apps/v1/${place}/statefulsets`,
        `/api/v1/${place}/pods`,
      ];
      for (const path of [...paths, `/api/v1/${place}`]) await kubernetes.request(path, { method: 'DELETE' });
    }
    const left = () => this.#namespaces.flatMap((name) => [...watched.pods.all(name)]);
    await until('the pods are gone', () => left().length === 0);
  }

  #get(plural: string, name: string) {
    return this.cluster.kubernetes.expect(`/api/v1/namespaces/${this.namespace}/${plural}/${name}`);
  }
}

/** What happens to a cache from now on. */
export class Watcher {
  /** Each state of Ready, as `False Progressing`. */
  readonly ready: string[] = [];
  /** Uids of pods that were made. */
  readonly pods = new Set<string>();
  readonly #cache: LivingCache;
  readonly #stops: (() => void)[];

  constructor(cache: LivingCache) {
    this.#cache = cache;
    const { cluster, namespace, name } = cache;
    const { caches, pods } = cluster.watched;
    const known = new Set([...pods.all(namespace)].map(({ metadata }) => metadata.uid));
    this.#stops = [
      caches.onChange(({ type, object: { metadata, status } }) => {
        if (type !== 'put' || metadata.namespace !== namespace || metadata.name !== name) return;
        const ready = status?.conditions?.find((it) => it.type === 'Ready');
        const text = `${ready?.status} ${ready?.reason}`;
        if (this.ready.at(-1) !== text) this.ready.push(text);
      }),
      pods.onChange(({ object: { metadata } }) => {
        if (metadata.namespace === namespace && !known.has(metadata.uid)) this.pods.add(metadata.uid);
      }),
    ];
  }

  /** Looks no further than what there is now. */
  async stop(): Promise<void> {
    const { cluster, namespace, name } = this.#cache;
    const { caches, pods } = cluster.watched;
    await until('all of it is seen', async () => {
      const { metadata } = await this.#cache.object();
      return caches.get({ namespace, name })?.metadata.resourceVersion === metadata.resourceVersion;
    });
    const list = await cluster.kubernetes.expect(`/api/v1/namespaces/${namespace}/pods`);
    for (const { metadata } of list.items as readonly Pod[])
      await until('all pods are seen', () => pods.get(metadata)?.metadata.uid === metadata.uid);
    for (const stop of this.#stops) stop();
  }
}
