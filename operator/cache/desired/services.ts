/** The Services: one for clients, one without an address of its own for pods among themselves. */
import type { Desired, Service } from '../../runtime/index.ts';
import { ADMIN_PORT, cachesOwning, HTTP_PORT, isOurs, namesOf, ownedMetadata, selectorOf } from '../names.ts';
import type { Cache } from '../types.ts';

export function services(cache: Cache): Desired[] {
  const names = namesOf(cache);
  const selector = selectorOf(cache);
  const http = { name: 'http', port: 80, targetPort: 'http', protocol: 'TCP' };
  return [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: ownedMetadata(cache, names.client),
      spec: { type: 'ClusterIP', selector, ports: [http] },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: ownedMetadata(cache, names.peers),
      spec: {
        type: 'ClusterIP',
        clusterIP: 'None',
        // A pod finds others while it starts, and its metrics are read before it is ready.
        publishNotReadyAddresses: true,
        selector,
        ports: [
          { name: 'http', port: HTTP_PORT, targetPort: 'http', protocol: 'TCP' },
          { name: 'admin', port: ADMIN_PORT, targetPort: 'admin', protocol: 'TCP' },
        ],
      },
    },
  ];
}

/**
 * Whether a Service of the name that the gateway asks is the one that was made for the cache. Whoever may make Services in
 * its namespace could have one of the type ExternalName there first, and the gateway would ask any host for them.
 */
export function isClientService(cache: Cache, service: Service | undefined): boolean {
  if (service === undefined || !isOurs(cache, service)) return false;
  return cachesOwning(service).includes(cache.metadata.uid) && (service.spec.type ?? 'ClusterIP') === 'ClusterIP';
}
