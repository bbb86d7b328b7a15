/** What charts meet in a cluster: namespaces of fixed names, and kinds of projects that are not installed here. */
import type { Manifest } from './chart.ts';
import { untilServed } from './crds.ts';
import type { Kubernetes } from './kubernetes.ts';

/** Kinds of others that the chart or the operator makes objects of. */
const FOREIGN = [
  ['gateway.networking.k8s.io', 'v1', 'HTTPRoute', 'httproutes'],
  ['monitoring.coreos.com', 'v1', 'ServiceMonitor', 'servicemonitors'],
  ['monitoring.coreos.com', 'v1', 'PrometheusRule', 'prometheusrules'],
  ['grafana.integreatly.org', 'v1beta1', 'GrafanaDashboard', 'grafanadashboards'],
] as const;

/** Makes a namespace of this very name; the API server allows in it what Pod Security `restricted` does. */
export async function makeNamespace(kubernetes: Kubernetes, name: string): Promise<void> {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await kubernetes.expect('/api/v1/namespaces', { method: 'POST', body: { metadata: { name, labels } } });
}

/** Makes the kinds of others known, without their schemas: names and places count, fields do not. */
export async function installForeignKinds(kubernetes: Kubernetes): Promise<void> {
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  const names = FOREIGN.map(([group, , , plural]) => `${plural}.${group}`);
  const crds = FOREIGN.map(([group, version, kind, plural], index) => ({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: names[index],
      // Groups below k8s.io want to know who allowed them.
      annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
    },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [{ name: version, served: true, storage: true, schema }],
    },
  }));
  await apply(kubernetes, crds as unknown as Manifest[]);
  for (const [group, version, , plural] of FOREIGN) await untilServed(kubernetes, `${group}/${version}`, plural);
}

/** `kubectl apply`, with flags. A field that the API server does not know is an error. */
export function apply(
  kubernetes: Kubernetes,
  manifests: readonly Manifest[],
  flags: readonly string[] = [],
): Promise<string> {
  const input = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests });
  return kubernetes.kubectl(['apply', '--validate=strict', ...flags, '-f', '-'], { input });
}
