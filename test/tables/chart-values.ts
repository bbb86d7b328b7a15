/** Values that people install the chart with: each renders, and is taken by a real API server. */
import type { Values } from '../support/chart.ts';

const gateway = { enabled: true, apiUrl: 'https://cache.example.org' };

/** Namespaces that the values name. */
export const WATCHED = ['team-a', 'team-b'];

export const chartValues: Readonly<Record<string, Values>> = {
  'nothing said': {},
  'a gateway inside of the cluster': { gateway: { ...gateway, apiUrl: 'http://cache.example.org:8080' } },
  'a gateway with a certificate and a load balancer of its own': {
    caches: { trustedProxies: ['10.244.0.0/16', 'fd00::/8'] },
    gateway: {
      ...gateway,
      namespaces: WATCHED,
      tls: { secretName: 'cache-tls' },
      service: {
        type: 'LoadBalancer',
        loadBalancerClass: 'example.org/lb',
        loadBalancerSourceRanges: ['192.0.2.0/24'],
        externalTrafficPolicy: 'Local',
        annotations: { 'example.org/idle-timeout': '3600' },
      },
    },
  },
  'a gateway on the ports of nodes': { gateway: { ...gateway, service: { type: 'NodePort', nodePort: 30443 } } },
  'a gateway behind an Ingress': {
    gateway: {
      ...gateway,
      trustedProxies: ['10.244.0.0/16'],
      tls: { secretName: 'cache-tls' },
      ingress: { enabled: true, className: 'nginx', annotations: { 'example.org/body-size': '0' } },
    },
  },
  'a gateway behind an HTTPRoute': {
    gateway: { ...gateway, httpRoute: { enabled: true, parentRefs: [{ name: 'public', namespace: 'gateways' }] } },
  },
  'hosts for caches': {
    caches: {
      hosts: { 'team-a': ['nix.example.org', '*.team-a.example.org'], '*': ['*.{namespace}.nix.example.org', '*'] },
      ingressAnnotations: ['alb.ingress.kubernetes.io/*', 'nginx.ingress.kubernetes.io/server-snippet=*'],
    },
  },
  'single namespaces': { watchNamespaces: WATCHED, gateway },
  'metrics, alerts and a dashboard': {
    gateway,
    networkPolicy: {
      metricsFrom: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }],
    },
    serviceMonitor: { enabled: true, interval: '30s', labels: { release: 'prometheus' } },
    prometheusRule: { enabled: true, labels: { release: 'prometheus' } },
    grafanaDashboard: { enabled: true, annotations: { grafana_folder: 'Nix' } },
  },
  'a dashboard for the operator of Grafana': {
    grafanaDashboard: { enabled: true, mode: 'GrafanaOperator', instanceLabels: { dashboards: 'grafana' } },
  },
  'pods of special needs': {
    image: { digest: `sha256:${'0'.repeat(64)}`, pullPolicy: 'Always' },
    imagePullSecrets: [{ name: 'registry' }],
    commonLabels: { 'example.org/team': 'platform' },
    operator: {
      replicas: 1,
      env: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/etc/ssl/own.crt' }],
      podAnnotations: { 'example.org/note': 'yes' },
      nodeSelector: { 'example.org/pool': 'infra' },
      tolerations: [{ key: 'infra', operator: 'Exists' }],
      priorityClassName: 'system-cluster-critical',
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: 'arch', operator: 'In', values: ['amd64'] }] }],
          },
        },
      },
    },
    gateway: { ...gateway, replicas: 5, terminationGracePeriodSeconds: 600 },
  },
  'as little as possible': {
    crds: { enabled: false },
    admissionPolicy: { enabled: false },
    networkPolicy: { enabled: false },
    podSecurityContext: { runAsUser: null, runAsGroup: null },
    operator: { resources: { limits: null } },
  },
};
