/** A cluster in which caches live: API server, controllers, our CRDs, and a kubelet that runs the real servers. */
import { pino } from 'pino';
import { BINARY_CACHE, type Cache } from '../../operator/cache/index.ts';
import { Api, Informer, kinds, kubeConfig, Metrics, type Pod, type Service } from '../../operator/runtime/index.ts';
import { type CacheCondition, conditionOf, untilCondition } from './cache-conditions.ts';
import { installCrds } from './crds.ts';
import { Kubelet } from './kubelet.ts';
import { Kubernetes, type KubernetesInit } from './kubernetes.ts';
import { Operator, type OperatorInit } from './operator.ts';
import { Services } from './services.ts';

/** All but those that need real nodes and volumes, and those of endpoints, which may not have loopback addresses. */
const CONTROLLERS = [
  '*',
  '-endpoints-controller',
  '-endpointslice-controller',
  '-endpointslice-mirroring-controller',
  '-persistentvolume-binder-controller',
  '-node-lifecycle-controller',
  '-taint-eviction-controller',
  '-pod-garbage-collector-controller',
];

/** Copies of what the cluster has, for those who play a part of it and those who look on. */
interface Watched {
  readonly caches: Informer<Cache>;
  readonly pods: Informer<Pod>;
  readonly services: Informer<Service>;
}

export class Cluster {
  readonly kubernetes: Kubernetes;
  readonly kubelet: Kubelet;
  readonly services: Services;
  readonly watched: Watched;
  readonly #stop: () => Promise<void>;
  readonly #operators: Operator[] = [];

  private constructor(
    parts: Pick<Cluster, 'kubernetes' | 'kubelet' | 'services' | 'watched'>,
    stop: () => Promise<void>,
  ) {
    this.kubernetes = parts.kubernetes;
    this.kubelet = parts.kubelet;
    this.services = parts.services;
    this.watched = parts.watched;
    this.#stop = stop;
  }

  static async start(init: KubernetesInit = {}): Promise<Cluster> {
    const kubernetes = await Kubernetes.start(init);
    try {
      // The garbage collector learns of new kinds every half minute only.
      await installCrds(kubernetes);
      await kubernetes.startControllerManager({ controllers: CONTROLLERS });
      const { watched, stop } = await watch(kubernetes);
      const [kubelet, services] = await Promise.all([Kubelet.start(kubernetes), Services.start(watched)]);
      return new Cluster({ kubernetes, kubelet, services, watched }, stop);
    } catch (error) {
      await kubernetes.remove();
      throw error;
    }
  }

  /** An operator that looks after one namespace, so that several tests share a cluster. */
  async operator(namespace: string, init: Pick<OperatorInit, 'args' | 'env'> = {}): Promise<Operator> {
    const { args = [], env = {} } = init;
    const { kubeconfig } = this.kubernetes;
    const operator = await Operator.start({
      kubeconfig,
      namespace,
      args: ['--watch-namespaces', namespace, ...args],
      env,
    });
    this.#operators.push(operator);
    return operator;
  }

  /** Applies manifests as a user does. */
  apply(namespace: string, manifest: string): Promise<string> {
    return this.kubernetes.kubectl(['-n', namespace, 'apply', '-f', '-'], { input: manifest });
  }

  condition(namespace: string, cache: string, type: string): Promise<CacheCondition | undefined> {
    return conditionOf(this.kubernetes, namespace, cache, type);
  }

  /** Waits until a condition of a cache has a status, and a reason where one is given. */
  until(namespace: string, cache: string, type: string, status: string, reason?: string): Promise<CacheCondition> {
    return untilCondition(this.kubernetes, namespace, cache, type, status, reason);
  }

  async remove(): Promise<void> {
    await Promise.all(this.#operators.map((operator) => operator.remove()));
    await this.services.remove();
    await this.kubelet.remove();
    await this.#stop();
    await this.kubernetes.remove();
  }
}

async function watch({ kubeconfig }: Kubernetes): Promise<{ watched: Watched; stop: () => Promise<void> }> {
  const stop = new AbortController();
  const logger = pino({ enabled: false });
  const metrics = new Metrics(undefined, 'cluster');
  const api = new Api({ load: kubeConfig(kubeconfig), manager: 'cluster', logger, metrics });
  const base = { api, logger, metrics };
  const watched: Watched = {
    caches: new Informer({ ...base, kind: BINARY_CACHE }),
    pods: new Informer({ ...base, kind: kinds.Pod }),
    services: new Informer({ ...base, kind: kinds.Service }),
  };
  const informers = Object.values(watched) as readonly Informer<never>[];
  const running = informers.map((informer) => informer.run(stop.signal));
  await Promise.all(informers.map(({ synced }) => synced));
  return {
    watched,
    stop: async () => {
      stop.abort();
      await Promise.all(running);
      await api.close();
    },
  };
}
