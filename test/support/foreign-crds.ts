/** Kinds of others that the operator writes where a cluster knows them, with schemas that take anything. */
import { untilServed } from './crds.ts';
import type { Kubernetes } from './kubernetes.ts';

const FOREIGN = [
  { group: 'gateway.networking.k8s.io', plural: 'httproutes', kind: 'HTTPRoute' },
  { group: 'monitoring.coreos.com', plural: 'servicemonitors', kind: 'ServiceMonitor' },
];

/** Installs HTTPRoute and ServiceMonitor. */
export async function installForeignCrds(kubernetes: Kubernetes): Promise<void> {
  for (const { group, plural, kind } of FOREIGN) {
    const version = {
      name: 'v1',
      served: true,
      storage: true,
      schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
    };
    const body = {
      metadata: {
        name: `${plural}.${group}`,
        // What the API server wants to see on a CRD of a group of Kubernetes' own.
        annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
      },
      spec: { group, scope: 'Namespaced', names: { plural, kind }, versions: [version] },
    };
    await kubernetes.expect('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', { method: 'POST', body });
    await untilServed(kubernetes, `${group}/v1`, plural);
  }
}
