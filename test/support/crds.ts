/** The CRDs of the project in a cluster. */
import { fileURLToPath } from 'node:url';
import { apiVersion, type Kind, kinds } from '../../crds/index.ts';
import type { Kubernetes } from './kubernetes.ts';

/** The folder of the generated files. */
export const crdFolder = fileURLToPath(new URL('../../crds/generated', import.meta.url));

/** Installs the CRDs or brings them up to date, and waits until their kinds can be used. */
export async function installCrds(kubernetes: Kubernetes): Promise<void> {
  await kubernetes.kubectl(['apply', '--server-side', '--force-conflicts', '-f', crdFolder]);
  await kubernetes.kubectl(['wait', '--for=condition=Established', '--timeout=60s', '-f', crdFolder]);
}

/** The path of the objects of a kind in a namespace, or of one of them. */
export function pathOf(kind: Kind['kind'], namespace: string, name?: string): string {
  const plural = kinds.find((entry) => entry.kind === kind)?.plural;
  return `/apis/${apiVersion}/namespaces/${namespace}/${plural}${name === undefined ? '' : `/${name}`}`;
}
