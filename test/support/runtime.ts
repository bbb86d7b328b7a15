/** The controller runtime against a cluster of the tests: clients, what they log, what they count. */
import { type Logger, pino } from 'pino';
import { Registry } from 'prom-client';
import {
  type Access,
  Api,
  type ApiInit,
  Informer,
  type InformerInit,
  type Kind,
  kubeConfig,
  Metrics,
  type Obj,
  type ReflectorTimes,
} from '../../operator/runtime/index.ts';
import { FaultProxy } from './fault-proxy.ts';
import type { Kubernetes } from './kubernetes.ts';
import { until } from './server.ts';

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Runtime {
  readonly api: Api;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** All that was logged. */
  readonly log: LogLine[];
  /** Aborted by closeRuntimes(). */
  readonly signal: AbortSignal;
  /** Waits for a line, which may be there already. */
  logged(msg: string): Promise<void>;
  /** An informer that runs until closeRuntimes(). Quick to try again. */
  follow<T extends Obj>(kind: Kind<T>, init?: Partial<InformerInit<T>>): Informer<T>;
}

export interface RuntimeInit extends Partial<Omit<ApiInit, 'load' | 'metrics' | 'logger'>> {
  /** The default is the administrator's way to the cluster. */
  readonly load?: ApiInit['load'];
  /** Another address of the same server, such as a proxy's. */
  readonly server?: string;
}

const QUICK: ReflectorTimes = { backoff: { baseMs: 20, maxMs: 200 } };
const open = new Set<() => Promise<void>>();

/** A client of the cluster, closed by closeRuntimes(). */
export function runtimeFor(kubernetes: Kubernetes, { load, server, ...init }: RuntimeInit = {}): Runtime {
  const log: LogLine[] = [];
  const logger = pino({ level: 'debug' }, { write: (line) => void log.push(JSON.parse(line)) });
  const metrics = new Metrics(new Registry(), 'test');
  const from = load ?? kubeConfig(kubernetes.kubeconfig);
  const api = new Api({
    manager: 'narwhal-test',
    ...init,
    load: async () => at(await from(), server),
    logger,
    metrics,
  });
  const stop = new AbortController();
  const running: Promise<void>[] = [];
  open.add(async () => {
    stop.abort();
    await Promise.all(running);
    await api.close();
  });
  return {
    api,
    metrics,
    logger,
    log,
    signal: stop.signal,
    logged: (msg) => until(`"${msg}" is logged`, () => log.some((line) => line.msg === msg)),
    follow: (kind, { times, ...init } = {}) => {
      const informer = new Informer({ api, kind, logger, metrics, times: { ...QUICK, ...times }, ...init });
      running.push(informer.run(stop.signal));
      return informer;
    },
  };
}

/** For `afterEach`. */
export async function closeRuntimes(): Promise<void> {
  await Promise.all([...open].map((close) => close()));
  open.clear();
}

/** A proxy in front of the API server, for clients at `proxy.url`: they are the administrator. */
export async function proxyFor(kubernetes: Kubernetes): Promise<FaultProxy> {
  const access = await kubeConfig(kubernetes.kubeconfig)();
  const { ca, cert, key } = (await access()).tls;
  const proxy = await FaultProxy.start({ ca: String(ca), cert: String(cert), key: String(key) });
  proxy.target = kubernetes.url;
  return proxy;
}

/** The same at another address. At one of plain HTTP is a proxy of the test, which has its own credentials. */
function at(access: Access, server: string | undefined): Access {
  if (server === undefined) return access;
  return async () => ({ ...(server.startsWith('http:') ? { tls: {}, headers: {} } : await access()), server });
}

/** The value of a series with these labels, summed up over all others; 0 if there is none. */
export async function counted(
  metrics: Metrics,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): Promise<number> {
  const series = await metrics.registry.getSingleMetric(name)?.get();
  const fits = (value: { labels: object }) =>
    Object.entries(labels).every(([label, wanted]) => Reflect.get(value.labels, label) === wanted);
  return (series?.values ?? []).filter(fits).reduce((sum, { value }) => sum + value, 0);
}

/** How many requests of a verb got an answer of the code, any if none is named. */
export async function requests(metrics: Metrics, verb: string, code?: number): Promise<number> {
  const series = await metrics.registry.getSingleMetric('test_api_request_seconds')?.get();
  return (series?.values ?? [])
    .filter((value) => Reflect.get(value, 'metricName') === 'test_api_request_seconds_count')
    .filter(({ labels }) => labels.verb === verb && (code === undefined || labels.code === code))
    .reduce((sum, { value }) => sum + value, 0);
}

export interface Widget extends Obj {
  readonly spec?: { readonly size?: string; readonly colour?: string };
  readonly status?: { readonly phase?: string; readonly conditions?: readonly { readonly type: string }[] };
}

/** A kind of the tests, with a status. */
export const widgets: Kind<Widget> = {
  apiVersion: 'test.example.org/v1',
  kind: 'Widget',
  plural: 'widgets',
  namespaced: true,
};

/** Makes the API server know Widgets. */
export async function installWidgets(kubernetes: Kubernetes): Promise<void> {
  const { group, definition } = crd('widgets', 'Widget');
  await kubernetes.expect(
    `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.${group}?fieldManager=test&force=true`,
    { method: 'PATCH', type: 'application/apply-patch+yaml', body: definition },
  );
  const served = async () => (await kubernetes.request(`/apis/${group}/v1/widgets`)).status === 200;
  await until('widgets are served', served);
}

/** A CustomResourceDefinition, by default of a group that no other test has. */
export function crd(plural: string, kind: string, group = 'test.example.org'): { group: string; definition: object } {
  const text = { type: 'string' };
  const conditions = {
    type: 'array',
    items: { type: 'object', properties: { type: text, status: text }, required: ['type'] },
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['type'],
  };
  const properties = {
    spec: { type: 'object', properties: { size: text, colour: text } },
    status: { type: 'object', properties: { phase: text, conditions } },
  };
  const version = {
    name: 'v1',
    served: true,
    storage: true,
    subresources: { status: {} },
    schema: { openAPIV3Schema: { type: 'object', properties } },
  };
  const definition = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: { group, scope: 'Namespaced', names: { plural, kind }, versions: [version] },
  };
  return { group, definition };
}
