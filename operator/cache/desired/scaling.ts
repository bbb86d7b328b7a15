/** How many pods, and how many of them may be away: PodDisruptionBudget and HorizontalPodAutoscaler. */
import type { Desired } from '../../runtime/index.ts';
import { namesOf, ownedMetadata, selectorOf } from '../names.ts';
import type { Cache } from '../types.ts';

export function disruption(cache: Cache): Desired[] {
  return [
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: ownedMetadata(cache, namesOf(cache).workload),
      spec: {
        // Not minAvailable: with one pod that would keep its node from ever being drained.
        maxUnavailable: 1,
        unhealthyPodEvictionPolicy: 'AlwaysAllow',
        selector: { matchLabels: selectorOf(cache) },
      },
    },
  ];
}

export function autoscaler(cache: Cache): Desired[] {
  const { autoscaling } = cache.spec;
  if (!autoscaling) return [];
  const { minReplicas, maxReplicas, targetCPUUtilizationPercentage } = autoscaling;
  return [
    {
      apiVersion: 'autoscaling/v2',
      kind: 'HorizontalPodAutoscaler',
      metadata: ownedMetadata(cache, namesOf(cache).workload),
      spec: {
        // The cache itself, not its StatefulSet: spec.replicas stays the one truth.
        scaleTargetRef: { apiVersion: cache.apiVersion, kind: cache.kind, name: cache.metadata.name },
        minReplicas,
        maxReplicas,
        metrics: [
          {
            type: 'Resource',
            resource: {
              name: 'cpu',
              target: { type: 'Utilization', averageUtilization: targetCPUUtilizationPercentage },
            },
          },
        ],
      },
    },
  ];
}
