/** The CRDs of the project in a cluster. */
import { fileURLToPath } from 'node:url';
import { apiVersion, type Kind, kinds } from '../../crds/index.ts';
import type { Kubernetes } from './kubernetes.ts';
import { until } from './server.ts';

/** The folder of the generated files. */
export const crdFolder = fileURLToPath(new URL('../../crds/generated', import.meta.url));

/** Installs the CRDs or brings them up to date, and waits until their kinds can be used. */
export async function installCrds(kubernetes: Kubernetes): Promise<void> {
  await kubernetes.kubectl(['apply', '--server-side', '--force-conflicts', '-f', crdFolder]);
  for (const { plural } of kinds) await untilServed(kubernetes, apiVersion, plural);
}

/** Waits until a kind can be used. `kubectl wait` fails on a CRD that is so young that it has no conditions at all. */
export function untilServed(kubernetes: Kubernetes, groupVersion: string, plural: string): Promise<void> {
  const path = `/apis/${groupVersion}/${plural}`;
  return until(`${plural} are served`, async () => (await kubernetes.request(path)).status === 200);
}

/** The path of the objects of a kind in a namespace, or of one of them. */
export function pathOf(kind: Kind['kind'], namespace: string, name?: string): string {
  const plural = kinds.find((entry) => entry.kind === kind)?.plural;
  return `/apis/${apiVersion}/namespaces/${namespace}/${plural}${name === undefined ? '' : `/${name}`}`;
}
