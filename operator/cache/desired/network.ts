/** The NetworkPolicy: clients reach the cache's port, the operator and whoever reads metrics the admin port. */
import type { AnyObj, Desired } from '../../runtime/index.ts';
import { namesOf, ownedMetadata, selectorOf } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Inputs } from './inputs.ts';

const NAMESPACE_LABEL = 'kubernetes.io/metadata.name';

export function network(cache: Cache, { operatorNamespace }: Inputs): Desired[] {
  const { networkPolicy } = cache.spec;
  if (networkPolicy?.enabled === false) return [];
  const operator = {
    namespaceSelector: { matchLabels: { [NAMESPACE_LABEL]: operatorNamespace } },
    podSelector: { matchLabels: { 'app.kubernetes.io/name': 'narwhal' } },
  };
  const { clientsFrom, metricsFrom = [{ podSelector: {} }] } = networkPolicy ?? {};
  // Where clients are chosen, the gateway stays one of them: it asks the servers who may do what.
  const clients = clientsFrom && [...clientsFrom, operator];
  return [
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: ownedMetadata(cache, namesOf(cache).workload),
      spec: {
        podSelector: { matchLabels: selectorOf(cache) },
        policyTypes: ['Ingress'],
        ingress: [
          { ...(clients && { from: clients }), ports: [{ port: 'http', protocol: 'TCP' }] },
          { from: [...metricsFrom, operator], ports: [{ port: 'admin', protocol: 'TCP' }] },
        ],
      },
    },
  ];
}

interface PolicySpec {
  readonly ingress?: readonly {
    readonly from?: readonly { readonly namespaceSelector?: { readonly matchLabels?: Record<string, string> } }[];
  }[];
}

/** The namespace of the operator that has made a policy. */
export function operatorNamespaceOf(policy: AnyObj): string | undefined {
  const { ingress = [] } = policy.spec as PolicySpec;
  // It comes last, behind what the manifest says.
  return ingress.at(-1)?.from?.at(-1)?.namespaceSelector?.matchLabels?.[NAMESPACE_LABEL];
}
