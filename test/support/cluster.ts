/** A cluster in which caches live: API server, controllers, our CRDs, and a kubelet that runs the real servers. */
import { type CacheCondition, conditionOf, untilCondition } from './cache-conditions.ts';
import { installCrds } from './crds.ts';
import { Kubelet, type KubeletInit } from './kubelet.ts';
import { Kubernetes, type KubernetesInit } from './kubernetes.ts';
import { Operator, type OperatorInit } from './operator.ts';

/** All but those that need real nodes and volumes. */
const CONTROLLERS = [
  '*',
  '-persistentvolume-binder-controller',
  '-node-lifecycle-controller',
  '-taint-eviction-controller',
  '-pod-garbage-collector-controller',
];

export class Cluster {
  readonly kubernetes: Kubernetes;
  readonly kubelet: Kubelet;
  readonly #operators: Operator[] = [];

  private constructor(kubernetes: Kubernetes, kubelet: Kubelet) {
    this.kubernetes = kubernetes;
    this.kubelet = kubelet;
  }

  static async start(init: KubernetesInit & KubeletInit = {}): Promise<Cluster> {
    const kubernetes = await Kubernetes.start(init);
    try {
      // The garbage collector learns of new kinds every half minute only.
      await installCrds(kubernetes);
      await kubernetes.startControllerManager({ controllers: CONTROLLERS });
      return new Cluster(kubernetes, await Kubelet.start(kubernetes, init));
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
    await this.kubelet.remove();
    await this.kubernetes.remove();
  }
}
