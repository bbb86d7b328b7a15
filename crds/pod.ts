import { dnsLabel, hostname, objectName, stringMap } from './fields.ts';
import type { Schema } from './schema.ts';

// Fields that only a cluster acts on. They are a chosen subset: what is not here cannot break an upgrade.

const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } as const satisfies Schema;

const resourceQuantities = {
  type: 'object',
  maxProperties: 16,
  additionalProperties: {
    'x-kubernetes-int-or-string': true,
    pattern: '^[0-9]+(\\.[0-9]+)?[a-zA-Z]{0,2}$',
    maxLength: 32,
    allowed: 'a quantity such as 500m or 1Gi',
  },
} as const satisfies Schema;

export const resources = {
  type: 'object',
  description: 'Processor and memory of the server.',
  properties: {
    requests: { ...resourceQuantities, description: 'What a pod is promised.' },
    limits: { ...resourceQuantities, description: 'What a pod may not exceed.' },
  },
} as const satisfies Schema;

const peerList = {
  type: 'array',
  maxItems: 32,
  'x-kubernetes-list-type': 'atomic',
  items: anything,
} as const satisfies Schema;

export const podTemplate = {
  type: 'object',
  description: 'Additions to the pods of the server.',
  properties: {
    metadata: {
      type: 'object',
      description: 'Additions to the metadata of the pods.',
      properties: {
        labels: { ...stringMap, description: 'Labels of the pods.' },
        annotations: { ...stringMap, description: 'Annotations of the pods.' },
      },
    },
    spec: {
      type: 'object',
      description: 'Additions to the spec of the pods.',
      properties: {
        resources,
        nodeSelector: { ...stringMap, description: 'Labels that a node must carry.' },
        tolerations: {
          type: 'array',
          maxItems: 32,
          'x-kubernetes-list-type': 'atomic',
          description: 'Taints that the pods put up with.',
          items: {
            type: 'object',
            properties: {
              key: { type: 'string', maxLength: 317, description: 'Key of the taint. Absent: every key.' },
              operator: { type: 'string', enum: ['Exists', 'Equal'], description: 'How `value` is compared.' },
              value: { type: 'string', maxLength: 63, description: 'Value of the taint.' },
              effect: {
                type: 'string',
                enum: ['NoSchedule', 'PreferNoSchedule', 'NoExecute'],
                description: 'Effect of the taint. Absent: every effect.',
              },
              tolerationSeconds: {
                type: 'integer',
                format: 'int64',
                description: 'How long the pods stay on a node with a `NoExecute` taint.',
              },
            },
          },
        },
        affinity: { ...anything, description: 'Affinity as in the spec of a pod.' },
        topologySpreadConstraints: {
          type: 'array',
          maxItems: 16,
          'x-kubernetes-list-type': 'atomic',
          description: 'Spreading as in the spec of a pod.',
          items: anything,
        },
        priorityClassName: { ...objectName, description: 'PriorityClass of the pods.' },
        serviceAccountName: { ...objectName, description: 'ServiceAccount of the pods. Absent: one of their own.' },
        imagePullSecrets: {
          type: 'array',
          maxItems: 8,
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
          description: 'Secrets to pull the image with.',
          items: {
            type: 'object',
            required: ['name'],
            properties: { name: { ...objectName, description: 'Name of the Secret.' } },
          },
        },
        env: {
          type: 'array',
          maxItems: 64,
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['name'],
          description: 'More environment variables of the server.',
          items: {
            type: 'object',
            required: ['name'],
            properties: {
              name: {
                type: 'string',
                minLength: 1,
                maxLength: 253,
                pattern: '^[-._a-zA-Z][-._a-zA-Z0-9]*$',
                allowed: 'the name of an environment variable',
                description: 'Name of the variable.',
              },
              value: { type: 'string', maxLength: 32768, description: 'Its value.' },
              valueFrom: { ...anything, description: 'Where its value comes from, as in the spec of a pod.' },
            },
          },
        },
      },
    },
  },
} as const satisfies Schema;

export const autoscaling = {
  type: 'object',
  description: 'Scale by load. Leave out `replicas` then.',
  required: ['maxReplicas'],
  properties: {
    minReplicas: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'Never fewer pods than this.',
    },
    maxReplicas: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 64,
      description: 'Never more pods than this.',
    },
    targetCPUUtilizationPercentage: {
      type: 'integer',
      format: 'int32',
      minimum: 1,
      maximum: 100,
      default: 80,
      description: 'Load at which pods are added.',
    },
  },
} as const satisfies Schema;

export const ingress = {
  type: 'object',
  description:
    'One more host to pull from. In a cluster by an Ingress, whose controller must allow bodies of any size for pushes; a process answers at it.',
  required: ['host'],
  properties: {
    host: { ...hostname, description: 'Host name, in a cluster one that its administrator allows to the namespace.' },
    className: { ...objectName, description: 'IngressClass. Absent: the default class.' },
    tlsSecretName: { ...objectName, description: 'Secret with the certificate. Absent: no TLS.' },
    annotations: {
      ...stringMap,
      description: 'Annotations of the Ingress, for its controller: those that the administrator allows.',
    },
  },
} as const satisfies Schema;

export const httpRoute = {
  type: 'object',
  description: 'More hosts to pull from. In a cluster by an HTTPRoute of the Gateway API; a process answers at them.',
  required: ['hostnames', 'parentRefs'],
  properties: {
    hostnames: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      'x-kubernetes-list-type': 'set',
      items: hostname,
      description: 'Host names, in a cluster those that its administrator allows to the namespace.',
    },
    parentRefs: {
      type: 'array',
      minItems: 1,
      maxItems: 8,
      'x-kubernetes-list-type': 'atomic',
      description: 'Gateways to attach to, in a cluster.',
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { ...objectName, description: 'Name of the Gateway.' },
          namespace: { ...dnsLabel, description: 'Its namespace. Absent: that of the cache.' },
          sectionName: { ...objectName, description: 'Listener of the Gateway. Absent: every listener.' },
        },
      },
    },
  },
} as const satisfies Schema;

export const monitoring = {
  type: 'object',
  description: 'Metrics for the Prometheus operator.',
  properties: {
    serviceMonitor: {
      type: 'object',
      description: 'A ServiceMonitor for the pods.',
      properties: {
        enabled: { type: 'boolean', default: false, description: 'Whether there is one.' },
        interval: {
          type: 'string',
          pattern: '^[0-9]+(ms|s|m|h)$',
          maxLength: 16,
          allowed: 'a duration such as 30s',
          description: 'Time between two scrapes. Absent: the default of Prometheus.',
        },
        labels: { ...stringMap, description: 'Labels by which Prometheus finds it.' },
      },
    },
  },
} as const satisfies Schema;

export const networkPolicy = {
  type: 'object',
  description: 'Who may talk to the pods.',
  properties: {
    enabled: { type: 'boolean', default: true, description: 'Whether there is a NetworkPolicy.' },
    metricsFrom: {
      ...peerList,
      description: 'Peers, as in a NetworkPolicy, that may read the metrics. Absent: everyone in the namespace.',
    },
    clientsFrom: {
      ...peerList,
      description: 'Peers, as in a NetworkPolicy, that may use the cache. Absent: everyone.',
    },
  },
} as const satisfies Schema;
