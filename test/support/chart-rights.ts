/** What a ServiceAccount may do, as the API server itself lists it. */
import type { Kubernetes, ServiceAccount } from './kubernetes.ts';

interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
}

/** Verbs by resource, as in `statefulsets.apps`; those for some names only as `leases.coordination.k8s.io [a b]`. */
export type Rights = Readonly<Record<string, string>>;

/** The rights in a namespace, but for those that everyone has who can sign in. */
export async function rightsOf(kubernetes: Kubernetes, who: ServiceAccount, namespace: string): Promise<Rights> {
  const kubeconfig = await kubernetes.kubeconfigFor(who);
  const review = { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectRulesReview', spec: { namespace } };
  // Validation would ask the API server for more than this account may know.
  const answer = await kubernetes.kubectl(['create', '--validate=false', '-f', '-', '-o', 'json'], {
    input: JSON.stringify(review),
    kubeconfig,
  });
  const { resourceRules } = JSON.parse(answer).status as { resourceRules: Rule[] };
  const rights = new Map<string, Set<string>>();
  for (const { verbs, apiGroups, resources, resourceNames } of resourceRules) {
    for (const group of apiGroups) {
      if (['authorization.k8s.io', 'authentication.k8s.io'].includes(group)) continue;
      for (const resource of resources) {
        const [name, sub] = resource.split('/');
        const where = [`${name}${group && `.${group}`}`, sub].filter(Boolean).join('/');
        const key = resourceNames ? `${where} [${[...resourceNames].sort().join(' ')}]` : where;
        rights.set(key, new Set([...(rights.get(key) ?? []), ...verbs]));
      }
    }
  }
  return Object.fromEntries([...rights].sort().map(([key, verbs]) => [key, [...verbs].sort().join(' ')]));
}
