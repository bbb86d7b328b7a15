/** A ServiceMonitor, where the manifest asks for one and the Prometheus operator is there. */
import type { Desired } from '../../runtime/index.ts';
import { namesOf, ownedMetadata, selectorOf } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Inputs } from './inputs.ts';

export function monitoring(cache: Cache, { served }: Inputs): Desired[] {
  const { enabled, interval, labels } = cache.spec.monitoring?.serviceMonitor ?? {};
  if (!enabled || !served.serviceMonitor) return [];
  const metadata = ownedMetadata(cache, namesOf(cache).workload);
  return [
    {
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'ServiceMonitor',
      // Ours last: by them we find it again.
      metadata: { ...metadata, labels: { ...labels, ...metadata.labels } },
      spec: {
        selector: { matchLabels: selectorOf(cache) },
        // Of the two Services only the one for peers has this port, so each pod is read once.
        endpoints: [{ port: 'admin', ...(interval !== undefined && { interval }) }],
      },
    },
  ];
}
