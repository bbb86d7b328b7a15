/** `narwhal-operator run`: wires the rooms, and ends when told to, or when another replica leads. */
import { randomBytes } from 'node:crypto';
import process from 'node:process';
import { isDeepStrictEqual } from 'node:util';
import { type Logger, pino } from 'pino';
import { collectDefaultMetrics } from 'prom-client';
import { schemaHash } from '../crds/index.ts';
import {
  type Cache,
  cacheKeyOf,
  MANAGER,
  Reconciler,
  type RouteRules,
  Secrets,
  Stores,
  TokenWatch,
} from './cache/index.ts';
import { PublicNames } from './gateway/index.ts';
import type { OperatorOptions } from './options.ts';
import {
  type AnyObj,
  Api,
  type ConfigMap,
  type Controller,
  Events,
  Informer,
  keyOf,
  kinds,
  kubeConfig,
  LeaseLost,
  lead,
  Metrics,
  type Obj,
  Probe,
  runControllers,
  type Service,
  type Source,
  watches,
} from './runtime/index.ts';

/** @returns the exit code */
export async function runOperator(options: OperatorOptions, env: NodeJS.ProcessEnv): Promise<number> {
  const logger = pino({ level: options.logLevel }, pino.destination({ dest: 2, sync: false }));
  const stop = new AbortController();
  const { signal } = stop;
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    process.on(name, () => {
      logger.info({ signal: name }, 'stopping');
      stop.abort();
    });
  const metrics = new Metrics(undefined, 'narwhal_operator');
  // Processor time, memory, lag: process_* and nodejs_*.
  collectDefaultMetrics({ register: metrics.registry });
  const api = new Api({ load: kubeConfig(), manager: MANAGER, logger, metrics });
  const stores = new Stores({ api, logger, metrics, namespaces: options.watchNamespaces });
  const gateway =
    options.apiUrl === undefined ? undefined : gatewayParts(options, options.apiUrl, api, stores, logger, metrics);
  const informers = [...stores.all, ...(gateway?.informers ?? [])];
  const probe = new Probe({ informers, metrics, logger });
  const listening = await probe.listen(options.listen.host, options.listen.port);
  const running = informers.map((informer) => informer.run(signal));
  logger.info({ listen: listening, image: options.image, apiUrl: options.apiUrl ?? null }, 'the operator has started');
  try {
    await warnOfOtherSchemas(api, logger, signal);
    const identity = `${options.identity}_${randomBytes(4).toString('hex')}`;
    const { namespace } = options;
    await lead({ api, logger, metrics, namespace, identity, ...options.lease }, signal, async (leading) => {
      const events = new Events({
        api,
        controller: `narwhal.dev/${MANAGER}`,
        instance: options.identity,
        logger,
        metrics,
      });
      const secrets = new Secrets({ api, ttlMs: options.secretsMs, areTokensWatched: true });
      const tokens = new TokenWatch({
        caches: stores.caches,
        secrets,
        logger,
        registry: metrics.registry,
        roundMs: options.tokensMs,
        perSecond: options.tokensPerSecond,
      });
      const reconciler = new Reconciler({
        api,
        stores,
        secrets,
        publicNameOf: (cache) => gateway?.names.of(cache),
        serverTimeoutMs: options.serverTimeoutMs,
        settings: { ...options, operatorNamespace: namespace, routes: routeRules(options) },
        events,
        logger,
        ...crashHook(env),
      });
      const sources = [tokens.source(), ...(gateway ? [sourceOf(gateway.names)] : [])];
      const controllers = [cacheController(options, stores, reconciler, sources)];
      if (gateway) controllers.push(gateway.controller);
      await Promise.all([runControllers(controllers, { logger, metrics }, leading), tokens.run(leading)]);
    });
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    // What is in memory may be wrong from now on, and a new process is the simplest way to be right again.
    logger.fatal({ err: error }, error instanceof LeaseLost ? 'another replica may lead now; ending' : 'ending');
    return 1;
  } finally {
    stop.abort();
    await Promise.all(running);
    await probe.close();
  }
}

function routeRules({ cacheHosts, ingressAnnotations, apiUrl }: OperatorOptions): RouteRules {
  const gatewayHost = apiUrl === undefined ? undefined : new URL(apiUrl).hostname;
  return { hosts: cacheHosts, annotations: ingressAnnotations, gatewayHost };
}

function cacheController(
  { workers, resyncMs, reconcileTimeoutMs }: OperatorOptions,
  stores: Stores,
  reconciler: Reconciler,
  sources: readonly Source[],
): Controller {
  const ofCache = (object: Obj) => cacheKeyOf(object) ?? [];
  return {
    name: 'caches',
    sources: [
      watches(stores.caches, (cache) => [keyOf(cache.metadata)], changesWhatIsWanted),
      watches(stores.pods, ofCache, differs),
      ...stores.children.map((informer) => watches(informer, ofCache, differs)),
      ...sources,
    ],
    reconcile: (ref, signal) => reconciler.reconcile(ref, signal),
    workers,
    resyncMs,
    timeoutMs: reconcileTimeoutMs,
    onTimeout: (ref) => void reconciler.tellTimeout(ref, reconcileTimeoutMs),
  };
}

/** Never our own writes of the status. */
function changesWhatIsWanted(now: Cache, before: Cache): boolean {
  const of = ({ metadata }: Cache) => {
    const { generation, labels, annotations, deletionTimestamp } = metadata;
    return { generation, labels, annotations, deletionTimestamp };
  };
  return !isDeepStrictEqual(of(now), of(before));
}

/** Kinds whose status tells how far a cache is; that of others changes to no purpose of ours. */
const TELLING = new Set(['StatefulSet', 'PersistentVolumeClaim', 'Pod']);

function differs(now: Obj, before: Obj): boolean {
  const of = ({ metadata, ...rest }: Obj) => {
    const { resourceVersion: _, ...meta } = metadata;
    const { status, ...other } = rest as Partial<AnyObj>;
    return { meta, other, ...(TELLING.has(now.kind) && { status }) };
  };
  return !isDeepStrictEqual(of(now), of(before));
}

function sourceOf(names: PublicNames): Source {
  return { synced: Promise.resolve(), keys: () => [], subscribe: (enqueue) => names.onChange(enqueue) };
}

function gatewayParts(
  options: OperatorOptions,
  apiUrl: string,
  api: Api,
  stores: Stores,
  logger: Logger,
  metrics: Metrics,
) {
  const { namespace, gatewayNamespaces, gatewaySelector } = options;
  const own = { api, logger, metrics, namespaces: [namespace] };
  const gatewayPods = new Informer({ ...own, kind: kinds.Pod, labelSelector: gatewaySelector });
  const records = new Informer({
    ...own,
    kind: kinds.ConfigMap,
    labelSelector: `app.kubernetes.io/managed-by=${MANAGER}`,
  });
  const [configMaps, services] = ['ConfigMap', 'Service'].map((kind) =>
    stores.children.find((informer) => informer.kind.kind === kind),
  );
  const names = new PublicNames({
    ...options,
    api,
    logger,
    apiUrl,
    allowed: gatewayNamespaces,
    caches: stores.caches,
    configOf: (ns, name) => configMaps?.get({ namespace: ns, name }) as ConfigMap | undefined,
    serviceOf: (ns, name) => services?.get({ namespace: ns, name }) as Service | undefined,
    records,
    gatewayPods,
    timeoutMs: options.serverTimeoutMs,
  });
  const always = () => ['gateway'];
  const controller: Controller = {
    name: 'gateway',
    workers: 1,
    sources: [
      // What a cache asks for does not matter here, only which caches there are.
      watches(
        stores.caches,
        always,
        (now, before) => now.metadata.deletionTimestamp !== before.metadata.deletionTimestamp,
      ),
      watches(gatewayPods, always, differs),
      watches(records, (object) => (names.isOurs(object) ? ['gateway'] : []), differs),
      ...(configMaps ? [watches(configMaps, always, differs)] : []),
      ...(services ? [watches(services, always, differs)] : []),
    ],
    reconcile: (_, signal) => names.reconcile(signal),
    resyncMs: options.resyncMs,
    timeoutMs: options.reconcileTimeoutMs,
  };
  return { names, controller, informers: [gatewayPods, records] };
}

/** An older CRD knows no newer fields: what we say of them would be refused. */
async function warnOfOtherSchemas(api: Api, logger: Logger, signal: AbortSignal): Promise<void> {
  const name = 'binarycaches.narwhal.dev';
  const crd = await api.get(kinds.CustomResourceDefinition, { name }, { signal }).catch((error: unknown) => {
    if (signal.aborted) throw error;
    logger.warn({ err: error }, 'the CRDs cannot be looked at');
    return undefined;
  });
  const found = crd?.metadata.annotations?.[schemaHash.annotation];
  if (crd && found !== schemaHash.of('BinaryCache'))
    logger.error(
      { crd: name },
      'the installed CRD is not the one of this version: apply the CRDs of this version (helm upgrade does, unless crds.enabled is false)',
    );
}

/** For tests: NARWHAL_OPERATOR_CRASH_AFTER=3 ends the process after its third step, as a crash would. */
function crashHook({ NARWHAL_OPERATOR_CRASH_AFTER: after }: NodeJS.ProcessEnv): { afterStep?: () => void } {
  if (after === undefined) return {};
  let left = Number(after);
  return {
    afterStep: () => {
      left -= 1;
      if (left === 0) process.kill(process.pid, 'SIGKILL');
    },
  };
}
