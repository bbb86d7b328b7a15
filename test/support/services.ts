/**
 * Plays DNS and kube-proxy of a cluster without a network: an HTTP proxy that knows the Services by name and leads to
 * their ready pods in turn. Clients take it by `http_proxy`, so they use the addresses that people are given, unchanged.
 */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Informer, Pod, Ref, Service } from '../../operator/runtime/index.ts';
import { closeNow, forward, inTurn } from './round-robin.ts';

export interface ServicesInit {
  readonly pods: Informer<Pod>;
  readonly services: Informer<Service>;
}

interface ContainerPort {
  readonly name?: string;
  readonly containerPort: number;
}

const HOST = /^(?<name>[^.]+)\.(?<namespace>[^.]+)\.svc(\.cluster\.local)?$/;

export class Services {
  readonly #init: ServicesInit;
  readonly #servers: http.Server[] = [];
  readonly #url: string;
  #turn = 0;

  private constructor(init: ServicesInit, server: http.Server, url: string) {
    this.#init = init;
    this.#servers.push(server);
    this.#url = url;
  }

  static async start(init: ServicesInit): Promise<Services> {
    const server = http.createServer();
    const services = new Services(init, server, await listen(server));
    server.on('request', (request, response) => {
      const url = new URL(request.url ?? '', 'http://of-a-proxy-that-is-no-server');
      forward(request, response, services.#route(url), `${url.pathname}${url.search}`);
    });
    return services;
  }

  /** What `http_proxy` names. */
  get url(): string {
    return this.#url;
  }

  /** A port of this machine that leads to port 80 of a Service, for clients that know no proxy. */
  async open(service: Ref): Promise<string> {
    const server = http.createServer((request, response) => forward(request, response, this.#targets(service, 80)));
    this.#servers.push(server);
    return listen(server);
  }

  async remove(): Promise<void> {
    await Promise.all(this.#servers.map(closeNow));
  }

  /** Where a URL leads: to pods where it names a Service, else where anybody would go. */
  #route({ hostname, port, origin }: URL): string[] {
    const { groups } = HOST.exec(hostname) ?? {};
    if (!groups) return [origin];
    return this.#targets({ namespace: groups.namespace, name: groups.name ?? '' }, Number(port || 80));
  }

  /** Ready pods of a Service, a different one first each time. */
  #targets(ref: Ref, number: number): string[] {
    const service = this.#init.services.get(ref);
    const port = service?.spec.ports?.find((it) => it.port === number);
    const selector = Object.entries(service?.spec.selector ?? {});
    if (!port || selector.length === 0) return [];
    const targets = [...this.#init.pods.all(ref.namespace)]
      .filter((pod) => selector.every(([label, value]) => pod.metadata.labels?.[label] === value) && isServing(pod))
      .map((pod) => `http://${pod.status?.podIP}:${portOf(pod, port.targetPort)}`);
    return inTurn(targets, this.#turn++);
  }
}

/** As the controller of EndpointSlices has it. */
function isServing({ metadata, status }: Pod): boolean {
  const isReady = status?.conditions?.some((it) => it.type === 'Ready' && it.status === 'True') ?? false;
  return isReady && metadata.deletionTimestamp === undefined && status?.podIP !== undefined;
}

/** The number of a port that may be named. */
function portOf({ spec }: Pod, target: unknown): number {
  if (typeof target === 'number') return target;
  const ports = spec.containers.flatMap((container) => (container.ports ?? []) as readonly ContainerPort[]);
  return ports.find(({ name }) => name === target)?.containerPort ?? 0;
}

async function listen(server: http.Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
