/** A routing table in a ConfigMap, followed by the API: a mounted one would be a minute late. */
import type { Logger } from 'pino';
import { routesKey } from '../../crds/index.ts';
import type { TableSource } from './table.ts';

export interface KubernetesTableInit {
  readonly namespace: string;
  readonly name: string;
  /** Undefined: as kubectl finds it, or as a pod does. */
  readonly kubeconfig: string | undefined;
  readonly logger: Logger;
}

export function kubernetesTable({ namespace, name, kubeconfig, logger }: KubernetesTableInit): TableSource {
  return async (listener, signal) => {
    // Only here: everybody else does without a client of Kubernetes.
    const { Api, Informer, kinds, kubeConfig, Metrics } = await import('../../operator/runtime/index.ts');
    const metrics = new Metrics();
    const api = new Api({ load: kubeConfig(kubeconfig), manager: 'narwhal-gateway', logger, metrics });
    const informer = new Informer({
      ...{ api, logger, metrics },
      kind: kinds.ConfigMap,
      namespaces: [namespace],
      fieldSelector: `metadata.name=${name}`,
    });
    let last: string | undefined;
    const tell = () => {
      const object = informer.get({ namespace, name });
      const text: string | undefined = object?.data?.[routesKey];
      if (text === undefined) {
        const key = object === undefined ? '' : `key ${routesKey} in the `;
        listener.missing(`there is no ${key}ConfigMap ${namespace}/${name}`);
      } else if (text !== last) listener.changed(text);
      last = text;
    };
    informer.onChange(tell);
    void informer.synced.then(tell);
    await informer.run(signal);
    await api.close();
  };
}
