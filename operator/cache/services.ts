/** The Services: one for clients, one without an address of its own for pods among themselves. */
import type { Desired } from '../runtime/index.ts';
import { ADMIN_PORT, HTTP_PORT, namesOf, ownedMetadata, selectorOf } from './names.ts';
import type { Cache } from './types.ts';

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
