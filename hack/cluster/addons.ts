/** What a cluster holds from the start: DNS for its Services, and classes of volumes. */
import { COREDNS_IMAGE } from './images.ts';
import type { Network } from './network.ts';
import { CLASSES, PROVISIONER } from './volumes.ts';

/** The objects, as `kubectl apply` takes them. */
export function addons(network: Network): object {
  return { apiVersion: 'v1', kind: 'List', items: [...storageClasses(), ...dns(network)] };
}

/** Volumes of one node: a claim waits for its pod, so that on more than one they would be made at the right one. */
function storageClasses(): object[] {
  return CLASSES.map(({ name, isDefault, grows }) => ({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name, annotations: { 'storageclass.kubernetes.io/is-default-class': String(isDefault) } },
    provisioner: PROVISIONER,
    allowVolumeExpansion: grows,
    reclaimPolicy: 'Delete',
    volumeBindingMode: 'WaitForFirstConsumer',
  }));
}

const CONFIG = `.:53 {
    reload 2s
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa
}
`;

function dns(network: Network): object[] {
  const metadata = { name: 'coredns', namespace: 'kube-system' };
  const labels = { 'k8s-app': 'kube-dns' };
  const rules = [
    { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
  ];
  const container = {
    name: 'coredns',
    image: COREDNS_IMAGE,
    imagePullPolicy: 'Never',
    args: ['-conf', '/etc/coredns/Corefile'],
    volumeMounts: [{ name: 'config', mountPath: '/etc/coredns' }],
    readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
    resources: { requests: { cpu: '20m', memory: '32Mi' }, limits: { memory: '128Mi' } },
  };
  const pod = {
    serviceAccountName: 'coredns',
    dnsPolicy: 'Default',
    terminationGracePeriodSeconds: 1,
    priorityClassName: 'system-cluster-critical',
    containers: [container],
    volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
  };
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'dns-tcp', port: 53, protocol: 'TCP' },
  ];
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: CONFIG } },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'coredns' }, rules },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'coredns' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'coredns' },
      subjects: [{ kind: 'ServiceAccount', ...metadata }],
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata,
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: pod } },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { ...metadata, name: 'kube-dns' },
      spec: { clusterIP: network.dns, selector: labels, ports },
    },
  ];
}
