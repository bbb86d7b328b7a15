/**
 * A routing table in ConfigMaps, followed by the API: a mounted one would be a minute late. One of them has the head,
 * and each namespace with caches a shard. An operator from before there were shards wrote all into the first.
 */
import type { Logger } from 'pino';
import { headKey, routesKey, shardLabel } from '../../crds/index.ts';
import type { ConfigMap, Informer as InformerOf } from '../../operator/runtime/index.ts';
import type { TableSource, TableTexts } from '../gateway/index.ts';

export interface KubernetesTableInit {
  readonly namespace: string;
  readonly name: string;
  /** Undefined: as kubectl finds it, or as a pod does. */
  readonly kubeconfig: string | undefined;
  readonly logger: Logger;
}

/** A thousand shards that change at once are one change. */
const TOGETHER_MS = 50;

export function kubernetesTable({ namespace, name, kubeconfig, logger }: KubernetesTableInit): TableSource {
  return async (listener, signal) => {
    // Only here: everybody else does without a client of Kubernetes.
    const { Api, Informer, kinds, kubeConfig, Metrics } = await import('../../operator/runtime/index.ts');
    const metrics = new Metrics();
    const api = new Api({ load: kubeConfig(kubeconfig), manager: 'narwhal-gateway', logger, metrics });
    const configMaps = { api, logger, metrics, kind: kinds.ConfigMap, namespaces: [namespace] };
    const heads = new Informer({ ...configMaps, fieldSelector: `metadata.name=${name}` });
    const shards = new Informer({ ...configMaps, labelSelector: `${shardLabel}=${name}` });
    let last: TableTexts | undefined;
    let timer: NodeJS.Timeout | undefined;
    const tell = () => {
      timer = undefined;
      if (signal.aborted) return;
      const next = textsOf(heads.get({ namespace, name }), name, shards);
      if (next === undefined) {
        const key = heads.size === 0 ? '' : `key ${headKey} or ${routesKey} in the `;
        listener.missing(`there is no ${key}ConfigMap ${namespace}/${name}`);
      } else if (last === undefined || !isSame(next, last)) listener.changed(next);
      last = next;
    };
    void Promise.all([heads.synced, shards.synced]).then(() => {
      for (const informer of [heads, shards])
        informer.onChange(() => {
          timer ??= setTimeout(tell, TOGETHER_MS);
        });
      tell();
    });
    await Promise.all([heads.run(signal), shards.run(signal)]);
    clearTimeout(timer);
    await api.close();
  };
}

function textsOf(head: ConfigMap | undefined, name: string, shards: InformerOf<ConfigMap>): TableTexts | undefined {
  const { [headKey]: shared, [routesKey]: whole } = head?.data ?? {};
  if (shared === undefined) return whole === undefined ? undefined : { whole };
  const texts = [...shards.all()].flatMap(({ metadata, data }) => {
    const [table, namespace] = [metadata.name.slice(0, name.length + 1), metadata.name.slice(name.length + 1)];
    return table === `${name}.` ? [[namespace, data?.[routesKey] ?? ''] as const] : [];
  });
  return { head: shared, shards: new Map(texts) };
}

function isSame(next: TableTexts, last: TableTexts): boolean {
  if ('whole' in next || 'whole' in last) return 'whole' in next && 'whole' in last && next.whole === last.whole;
  if (next.head !== last.head || next.shards.size !== last.shards.size) return false;
  return [...next.shards].every(([namespace, text]) => last.shards.get(namespace) === text);
}
