/** An Ingress or an HTTPRoute, where the manifest asks for one. The gateway needs neither for a cache. */
import type { Desired } from '../../runtime/index.ts';
import { namesOf, ownedMetadata } from '../names.ts';
import type { Cache } from '../types.ts';
import type { Inputs } from './inputs.ts';

export function exposure(cache: Cache, { served }: Inputs): Desired[] {
  const { ingress, httpRoute } = cache.spec;
  const names = namesOf(cache);
  const metadata = ownedMetadata(cache, names.workload);
  if (ingress) {
    const { host, className, tlsSecretName, annotations } = ingress;
    const backend = { service: { name: names.client, port: { name: 'http' } } };
    return [
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: { ...metadata, ...(annotations && { annotations }) },
        spec: {
          ...(className !== undefined && { ingressClassName: className }),
          rules: [{ host, http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }],
          ...(tlsSecretName !== undefined && { tls: [{ hosts: [host], secretName: tlsSecretName }] }),
        },
      },
    ];
  }
  if (!httpRoute || !served.httpRoute) return [];
  const { hostnames, parentRefs } = httpRoute;
  return [
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'HTTPRoute',
      metadata,
      spec: {
        hostnames,
        parentRefs,
        rules: [{ backendRefs: [{ name: names.client, port: 80 }] }],
      },
    },
  ];
}
