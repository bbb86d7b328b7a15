/** A cluster in which caches live: API server, controllers, our CRDs, and a kubelet that runs the real servers. */
import { installCrds } from './crds.ts';
import { Kubelet, type KubeletInit } from './kubelet.ts';
import { Kubernetes, type KubernetesInit } from './kubernetes.ts';
import { Operator, type OperatorInit } from './operator.ts';
import { until } from './server.ts';

/** All but those that need real nodes and volumes. */
const CONTROLLERS = [
  '*',
  '-persistentvolume-binder-controller',
  '-node-lifecycle-controller',
  '-taint-eviction-controller',
  '-pod-garbage-collector-controller',
];

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

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

  async condition(namespace: string, cache: string, type: string): Promise<Condition | undefined> {
    const { body } = await this.kubernetes.request(
      `/apis/narwhal.dev/v1alpha1/namespaces/${namespace}/binarycaches/${cache}`,
    );
    const { conditions = [] } = (body.status ?? {}) as { conditions?: Condition[] };
    return conditions.find((condition) => condition.type === type);
  }

  /** Waits until a condition of a cache has a status, and a reason where one is given. */
  async until(namespace: string, cache: string, type: string, status: string, reason?: string): Promise<Condition> {
    let found: Condition | undefined;
    const isSo = async () => {
      found = await this.condition(namespace, cache, type);
      return found?.status === status && (reason === undefined || found.reason === reason);
    };
    await until(`${type} of ${cache} is ${status} ${reason ?? ''}`, isSo, 60_000).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${JSON.stringify(found)}`);
    });
    if (!found) throw new Error('unreachable');
    return found;
  }

  async remove(): Promise<void> {
    await Promise.all(this.#operators.map((operator) => operator.remove()));
    await this.kubelet.remove();
    await this.kubernetes.remove();
  }
}
