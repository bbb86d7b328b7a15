/**
 * Gives out public names, writes the gateway's routing table, and knows which routes every gateway pod runs. One for
 * the whole operator: a name can be given once.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { type RoutingTable, routesKey } from '../../crds/index.ts';
import { askPod, type Cache, isReady, MANAGER, type PublicName } from '../cache/index.ts';
import {
  type Api,
  type ConfigMap,
  Contests,
  type Informer,
  keyOf,
  kinds,
  type Obj,
  type Outcome,
  type Pod,
} from '../runtime/index.ts';
import { decideNames, type Holder } from './names.ts';
import { routingTable } from './table.ts';

export interface PublicNamesInit {
  readonly api: Api;
  readonly logger: Logger;
  readonly apiUrl: string;
  /** Where the operator and the gateway run. */
  readonly namespace: string;
  /** Name of the ConfigMap that records the holders of names. */
  readonly namesConfigMap: string;
  /** Name of the ConfigMap with the routing table. */
  readonly routesConfigMap: string;
  /** Namespaces that may have public names; empty: all. */
  readonly allowed: readonly string[];
  readonly caches: Informer<Cache>;
  readonly configOf: (namespace: string, name: string) => ConfigMap | undefined;
  readonly gatewayPods: Informer<Pod>;
  /** Between two questions to gateway pods that do not run the table yet. */
  readonly pollMs: number;
  readonly timeoutMs: number;
}

const UNDECIDED: PublicName = { holder: undefined, isServed: false };

export class PublicNames {
  readonly #init: PublicNamesInit;
  readonly #known = new Map<string, PublicName>();
  readonly #listeners = new Set<(key: string) => void>();
  /** What was written, by the ConfigMap. */
  readonly #contests = new Contests();
  /** Routes that every gateway pod was seen to run. */
  #served: RoutingTable['caches'] = {};

  constructor(init: PublicNamesInit) {
    this.#init = init;
  }

  /** The public name of a cache, as it was decided last. */
  of(cache: Cache): PublicName {
    return this.#known.get(keyOf(cache.metadata)) ?? UNDECIDED;
  }

  /** Calls `listener` with the key of each cache whose public name changes; returns how to stop that. */
  onChange(listener: (key: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async reconcile(signal: AbortSignal): Promise<Outcome> {
    const { api, namespace, caches, gatewayPods, apiUrl, configOf, pollMs } = this.#init;
    const all = [...caches.all()].filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const { holders, heldMs } = await this.#decide(all, signal);
    // Told at once: caches wait for it to make their keys.
    this.#publish(all, holders);
    const table = routingTable(apiUrl, all, holders, configOf);
    const text = JSON.stringify(table);
    const ref = { namespace, name: this.#init.routesConfigMap };
    const live = await api.get(kinds.ConfigMap, ref, { signal });
    const isAsWanted = live?.data?.[routesKey] === text;
    const holdMs = this.#contests.holdMs(ref.name, text);
    if (!isAsWanted && holdMs === 0) {
      const metadata = { ...ref, labels: { 'app.kubernetes.io/managed-by': MANAGER } };
      const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [routesKey]: text } };
      this.#note(ref.name, text, await api.apply(kinds.ConfigMap, object, { signal }));
      this.#init.logger.info({ caches: Object.keys(table.caches).length }, 'the routing table has changed');
    }
    const isRun = await this.#isRunByAll([...gatewayPods.all()], text, signal);
    this.#served = isRun ? table.caches : stillServed(this.#served, table.caches);
    this.#publish(all, holders);
    const waits = [isRun ? 0 : pollMs, isAsWanted ? 0 : holdMs, heldMs].filter((ms) => ms > 0);
    return waits.length > 0 ? { requeueAfterMs: Math.min(...waits) } : {};
  }

  #note(name: string, text: string, { metadata }: Obj): void {
    this.#contests.done(name, text, metadata.resourceVersion, name);
    if (this.#contests.notes(name).length > 0)
      this.#init.logger.warn({ configMap: name }, 'something else undoes each write; writing ever more seldom');
  }

  /** `heldMs`: after which the records will be written, if others undo them each time. */
  async #decide(
    all: readonly Cache[],
    signal: AbortSignal,
  ): Promise<{ readonly holders: ReadonlyMap<string, Holder>; readonly heldMs: number }> {
    const { api, namespace, namesConfigMap, allowed } = this.#init;
    const ref = { namespace, name: namesConfigMap };
    const live = await api.get(kinds.ConfigMap, ref, { signal });
    const before = live?.data ?? {};
    const { records, holders } = decideNames(before, all, allowed);
    const text = JSON.stringify(records);
    const heldMs = isDeepStrictEqual(records, before) ? 0 : this.#contests.holdMs(ref.name, text);
    if (isDeepStrictEqual(records, before) || heldMs > 0) return { holders, heldMs };
    const labels = { ...live?.metadata.labels, 'app.kubernetes.io/managed-by': MANAGER };
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { ...ref, labels }, data: records };
    // Not applied: an administrator who removes an entry at this moment must win, and we must look again.
    const written = live
      ? await api.replace(kinds.ConfigMap, { ...object, metadata: { ...live.metadata, labels } }, { signal })
      : await api.create<ConfigMap>(kinds.ConfigMap, object, { signal });
    if (written === 'exists') return this.#decide(all, signal);
    this.#note(ref.name, text, written);
    return { holders, heldMs };
  }

  async #isRunByAll(pods: readonly Pod[], text: string, signal: AbortSignal): Promise<boolean> {
    const ready = pods.filter(isReady);
    const hash = createHash('sha256').update(text).digest('hex');
    const answers = await Promise.all(ready.map((pod) => askPod(pod, this.#init.timeoutMs, signal)));
    return ready.length > 0 && answers.every((answer) => hashOf(answer) === hash);
  }

  #publish(all: readonly Cache[], holders: ReadonlyMap<string, Holder>): void {
    const keys = new Set(all.map(({ metadata }) => keyOf(metadata)));
    for (const key of this.#known.keys()) if (!keys.has(key)) this.#known.delete(key);
    for (const { metadata } of all) {
      const key = keyOf(metadata);
      const holder = holders.get(key);
      const next = { holder, isServed: holder === 'this cache' && Object.hasOwn(this.#served, metadata.name) };
      if (isDeepStrictEqual(this.#known.get(key), next)) continue;
      this.#known.set(key, next);
      for (const listener of this.#listeners) listener(key);
    }
  }
}

function hashOf(answer: unknown): string | undefined {
  return (answer as { routes?: { sha256?: string } } | null | undefined)?.routes?.sha256;
}

/** While some pods run an older table, what stands in both as it is wanted is served. */
function stillServed(served: RoutingTable['caches'], wanted: RoutingTable['caches']): RoutingTable['caches'] {
  return Object.fromEntries(Object.entries(served).filter(([name, { url }]) => wanted[name]?.url === url));
}
