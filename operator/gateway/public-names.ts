/**
 * Gives out public names and the digits of tokens, writes the gateway's routing table, and knows which routes every
 * gateway pod runs. One for the whole operator: a name can be given once. A claim is recorded before anything follows
 * from it, and each namespace has ConfigMaps of its own, so that what hinders one hinders no other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { hashOfText, headKey, type RoutingShard, routesKey } from '../../crds/index.ts';
import { askPod, type Cache, isClientService, isReady, namesOf, type PublicName } from '../cache/index.ts';
import {
  type Api,
  type ConfigMap,
  type Informer,
  keyOf,
  type Outcome,
  type Pod,
  type Service,
} from '../runtime/index.ts';
import { formatClaims, type NamespaceClaims, parseClaims } from './claim-texts.ts';
import { type AllClaims, nextRelease } from './claims.ts';
import { decideNames, type Holder } from './names.ts';
import { withOldRecords } from './old-records.ts';
import { remembered } from './remembered.ts';
import { type Data, HEAD, Shards } from './shards.ts';
import { routingHead, routingShards } from './table.ts';
import { decideTokens, digitsIn, type Refusals } from './tokens.ts';

export interface PublicNamesInit {
  readonly api: Api;
  readonly logger: Logger;
  readonly apiUrl: string;
  /** Where the operator and the gateway run. */
  readonly namespace: string;
  /** First word of the names of the ConfigMaps that record the holders of names and tokens. */
  readonly namesConfigMap: string;
  /** Name of the ConfigMap with the head of the routing table, and first word of its shards'. */
  readonly routesConfigMap: string;
  /** Namespaces that may have public names; empty: all. */
  readonly allowed: readonly string[];
  /** Names that a namespace may have, those of caches that are gone among them. */
  readonly mostNames: number;
  /** Tokens of a namespace that the gateway routes by. */
  readonly mostTokens: number;
  /** After which a name is free that no cache has; undefined: never. */
  readonly releaseNamesMs: number | undefined;
  /** After which a token's digits are free that no cache has. */
  readonly releaseTokensMs: number;
  readonly caches: Pick<Informer<Cache>, 'all'>;
  readonly configOf: (namespace: string, name: string) => ConfigMap | undefined;
  readonly serviceOf: (namespace: string, name: string) => Service | undefined;
  /** Our ConfigMaps beside the operator. */
  readonly records: Informer<ConfigMap>;
  readonly gatewayPods: Pick<Informer<Pod>, 'all'>;
  /** Between two questions to gateway pods that do not run the table yet. */
  readonly pollMs: number;
  readonly timeoutMs: number;
}

/** A quarter of a million tokens take a second: whoever changes one again and again takes a tenth of the time at most. */
const REST = 9;
const MOST_REST_MS = 10_000;

const UNDECIDED: PublicName = { holder: undefined, isServed: false, refused: new Map() };

/** What was decided about all caches, and what follows from it. */
interface Decision {
  readonly holders: ReadonlyMap<string, Holder>;
  readonly refused: ReadonlyMap<string, Refusals>;
  readonly shards: ReadonlyMap<string, RoutingShard>;
  /** Namespaces whose claims could not be recorded: nothing follows for them yet. */
  readonly pending: ReadonlyMap<string, number>;
  readonly releaseAtMs: number | undefined;
}

export class PublicNames {
  readonly #init: PublicNamesInit;
  readonly #known = new Map<string, PublicName>();
  readonly #listeners = new Set<(key: string) => void>();
  readonly #claims: Shards;
  readonly #routes: Shards;
  #restUntilMs = 0;
  /** Of each namespace, routes that every gateway pod was seen to run. */
  #served: ReadonlyMap<string, RoutingShard['caches']> = new Map();

  constructor(init: PublicNamesInit) {
    this.#init = init;
    const { api, logger, namespace: home, records: informer } = init;
    this.#claims = new Shards({ api, logger, home, informer, name: init.namesConfigMap });
    this.#routes = new Shards({ api, logger, home, informer, name: init.routesConfigMap });
  }

  /** Whether a ConfigMap is one of those that are written here. */
  isOurs(object: ConfigMap): boolean {
    return this.#claims.shardOf(object) !== undefined || this.#routes.shardOf(object) !== undefined;
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
    const { caches, gatewayPods, pollMs } = this.#init;
    await sleep(Math.max(0, this.#restUntilMs - performance.now()), undefined, { signal });
    const all = [...caches.all()].filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const decision = await this.#decide(all, signal);
    // Told at once: caches wait for it to make their keys.
    this.#publish(all, decision);
    const answers = await this.#ask([...gatewayPods.all()], signal);
    const texts = await this.#texts(decision, answers, signal);
    const waits = await this.#routes.make(texts, signal);
    const isRunByAll = this.#noteServed(decision, texts, answers);
    this.#publish(all, decision);
    const due = [isRunByAll ? 0 : pollMs, ...waits.values(), ...decision.pending.values()];
    if (decision.releaseAtMs !== undefined) due.push(Math.max(decision.releaseAtMs - Date.now(), 1000));
    const next = due.filter((ms) => ms > 0);
    return next.length > 0 ? { requeueAfterMs: Math.min(...next) } : {};
  }

  async #decide(all: readonly Cache[], signal: AbortSignal): Promise<Decision> {
    const { allowed, mostNames, mostTokens, releaseNamesMs, releaseTokensMs, configOf } = this.#init;
    const found = await this.#claims.all(signal);
    const startMs = performance.now();
    const before = withOldRecords(recordsOf(found), found.get(HEAD));
    // Claims are written down in whole seconds.
    const nowMs = Math.floor(Date.now() / 1000) * 1000;
    const nameRules = { nowMs, most: mostNames, releaseMs: releaseNamesMs, allowed };
    const names = decideNames(before.names, all, nameRules);
    const digits = new Map<Cache, readonly string[]>();
    for (const cache of all) {
      // A cache without a ConfigMap has no pods yet.
      const config = configOf(cache.metadata.namespace ?? '', namesOf(cache).config);
      if (config && names.holders.get(keyOf(cache.metadata)) === 'this cache') digits.set(cache, digitsIn(config));
    }
    const tokenRules = { nowMs, most: mostTokens, releaseMs: releaseTokensMs };
    const tokens = decideTokens(before.tokens, digits, tokenRules);
    const data = dataOf(names.claims, tokens.claims, before.old);
    const endMs = performance.now();
    this.#restUntilMs = endMs + Math.min(REST * (endMs - startMs), MOST_REST_MS);
    const pending = await this.#claims.make(data, signal);
    const releases = [nextRelease(names.claims, releaseNamesMs), nextRelease(tokens.claims, releaseTokensMs)];
    const releaseAtMs = Math.min(...releases.filter((ms) => ms !== undefined));
    return {
      holders: names.holders,
      refused: tokens.refused,
      shards: routingShards(this.#reachable(digits), tokens.refused),
      pending,
      releaseAtMs: Number.isFinite(releaseAtMs) ? releaseAtMs : undefined,
    };
  }

  /** Those that have a Service of their own by now. What the others have claimed is theirs all the same. */
  #reachable(digits: ReadonlyMap<Cache, readonly string[]>): ReadonlyMap<Cache, readonly string[]> {
    const serviceOf = (cache: Cache) => this.#init.serviceOf(cache.metadata.namespace ?? '', namesOf(cache).client);
    return new Map([...digits].filter(([cache]) => isClientService(cache, serviceOf(cache))));
  }

  /** What the ConfigMaps of the table should hold. */
  async #texts(
    { shards, pending }: Decision,
    answers: readonly RunningParts[] | undefined,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Data>> {
    const live = await this.#routes.all(signal);
    const texts = new Map<string, Data>();
    for (const [namespace, shard] of shards) texts.set(namespace, { [routesKey]: JSON.stringify(shard) });
    for (const namespace of pending.keys()) {
      const data = live.get(namespace)?.data;
      if (data) texts.set(namespace, data);
      else texts.delete(namespace);
    }
    // A gateway from before there were shards reads the old key, until the last one is gone.
    const old = live.get(HEAD)?.data?.[routesKey];
    const isNeeded = old !== undefined && !answers?.every(({ shards: it }) => it !== undefined);
    const head = { [headKey]: JSON.stringify(routingHead(this.#init.apiUrl)), ...(isNeeded && { [routesKey]: old }) };
    return texts.set(HEAD, head);
  }

  /** What each ready pod of the gateway runs; undefined: there is none, or one does not answer. */
  async #ask(pods: readonly Pod[], signal: AbortSignal): Promise<readonly RunningParts[] | undefined> {
    const ready = pods.filter(isReady);
    const answers = await Promise.all(ready.map((pod) => askPod(pod, this.#init.timeoutMs, signal)));
    const parts = answers.flatMap((answer) => partsOf(answer) ?? []);
    return ready.length > 0 && parts.length === ready.length ? parts : undefined;
  }

  /** Whether every pod runs every shard. */
  #noteServed(
    { shards }: Decision,
    texts: ReadonlyMap<string, Data>,
    answers: readonly RunningParts[] | undefined,
  ): boolean {
    const served = new Map<string, RoutingShard['caches']>();
    let isRunByAll = answers !== undefined;
    for (const [namespace, { caches }] of shards) {
      const hash = hashOfText(texts.get(namespace)?.[routesKey] ?? '');
      const isRun = answers?.every((parts) => parts.shards?.[namespace] === hash) ?? false;
      isRunByAll &&= isRun;
      served.set(namespace, isRun ? caches : stillServed(this.#served.get(namespace) ?? {}, caches));
    }
    this.#served = served;
    return isRunByAll;
  }

  #publish(all: readonly Cache[], { holders, refused, pending }: Decision): void {
    const keys = new Set(all.map(({ metadata }) => keyOf(metadata)));
    for (const key of this.#known.keys()) if (!keys.has(key)) this.#known.delete(key);
    for (const { metadata } of all) {
      const { name, namespace = '' } = metadata;
      if (pending.has(namespace)) continue;
      const key = keyOf(metadata);
      const holder = holders.get(key);
      const isServed = holder === 'this cache' && Object.hasOwn(this.#served.get(namespace) ?? {}, name);
      const next: PublicName = { holder, isServed, refused: refused.get(key) ?? new Map() };
      if (isDeepStrictEqual(this.#known.get(key), next)) continue;
      this.#known.set(key, next);
      for (const listener of this.#listeners) listener(key);
    }
  }
}

/** What a gateway pod says of the shards that it runs; none of them where it runs a table in one piece. */
interface RunningParts {
  readonly shards: Readonly<Record<string, string>> | undefined;
}

function partsOf(answer: unknown): RunningParts | undefined {
  if (typeof answer !== 'object' || answer === null) return undefined;
  return { shards: (answer as { routes?: { shards?: Record<string, string> } | null }).routes?.shards };
}

/** While some pods run an older table, what stands in both as it is wanted is served. */
function stillServed(served: RoutingShard['caches'], wanted: RoutingShard['caches']): RoutingShard['caches'] {
  return Object.fromEntries(Object.entries(served).filter(([name, { url }]) => wanted[name]?.url === url));
}

const claimsIn = remembered(({ data }: ConfigMap) => parseClaims(data));

function recordsOf(found: ReadonlyMap<string, ConfigMap>): ReadonlyMap<string, NamespaceClaims> {
  const shards = [...found].filter(([namespace]) => namespace !== HEAD);
  return new Map(shards.map(([namespace, object]) => [namespace, claimsIn(object)]));
}

function dataOf(names: AllClaims, tokens: AllClaims, old: ReadonlySet<string>): ReadonlyMap<string, Data> {
  const texts = new Map<string, Data>();
  for (const namespace of [...old, ...names.keys(), ...tokens.keys()]) {
    const own = { names: names.get(namespace) ?? NONE, tokens: tokens.get(namespace) ?? NONE };
    const data = formatClaims(own);
    if (data || old.has(namespace)) texts.set(namespace, data ?? {});
  }
  return texts;
}

const NONE: NamespaceClaims['names'] = new Map();
