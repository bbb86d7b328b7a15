import { bytes, conditions, observedGeneration } from './fields.ts';
import type { Of, Schema } from './schema.ts';

/** What the operator reports of a cache. */
const count = { type: 'integer', format: 'int64', minimum: 0 } as const;

export const binaryCacheStatus = {
  type: 'object',
  properties: {
    observedGeneration,
    replicas: { type: 'integer', format: 'int32', description: 'Pods that exist.' },
    readyReplicas: { type: 'integer', format: 'int32', description: 'Pods that are ready.' },
    selector: { type: 'string', maxLength: 1024, description: 'Label selector of the pods, for autoscalers.' },
    url: { type: 'string', maxLength: 512, description: 'URL to pull from.' },
    image: { type: 'string', maxLength: 512, description: 'Image that the pods run.' },
    lastReconcile: {
      type: 'string',
      maxLength: 256,
      description: 'The annotation `narwhal.dev/reconcile` when the operator last looked at everything for it.',
    },
    configHash: { type: 'string', maxLength: 64, description: 'SHA-256 of the manifest that the pods should run.' },
    pods: {
      type: 'array',
      maxItems: 64,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'Which pods run that manifest: its tokens among all else.',
      items: {
        type: 'object',
        required: ['name', 'config', 'since'],
        properties: {
          name: { type: 'string', maxLength: 253, description: 'Name of the pod.' },
          config: {
            type: 'string',
            enum: ['Current', 'Outdated', 'Unknown'],
            description: 'Whether the pod runs the manifest of `configHash`; `Unknown` where it does not answer.',
          },
          since: { type: 'string', format: 'date-time', maxLength: 64, description: 'When that was first seen.' },
        },
      },
    },
    publicKeys: {
      type: 'array',
      maxItems: 32,
      'x-kubernetes-list-type': 'set',
      items: { type: 'string', maxLength: 512 },
      description: 'Keys for the clients.',
    },
    storages: {
      type: 'array',
      maxItems: 64,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'State of each storage; an entry outlives its storage in the spec until that is drained.',
      items: {
        type: 'object',
        required: ['name', 'phase'],
        properties: {
          name: { type: 'string', maxLength: 15, description: 'Name of the storage.' },
          phase: {
            type: 'string',
            enum: ['Pending', 'Ready', 'Unavailable', 'Draining', 'Paused', 'Drained', 'Abandoned'],
            description: 'State of the storage.',
          },
          used: { ...bytes, description: 'Bytes stored, rounded.' },
          capacity: { ...bytes, description: 'Bytes that fit.' },
          objects: { type: 'integer', format: 'int64', minimum: 0, description: 'Objects stored.' },
          movedObjects: {
            type: 'integer',
            format: 'int64',
            minimum: 0,
            description: 'Objects moved away while draining.',
          },
        },
      },
    },
    usage: {
      type: 'object',
      description: 'What is in the cache.',
      required: ['bytes', 'paths'],
      properties: {
        bytes: { ...bytes, description: 'Bytes stored, rounded: of removed paths too, until their grace is over.' },
        paths: { ...count, description: 'Store paths that are published.' },
        waiting: { ...count, description: 'Of these, those that lack something of their closure; at most 10000.' },
        lastGC: {
          type: 'object',
          description: 'The newest run of the garbage collection.',
          required: ['run', 'state', 'begunAt', 'removedPaths', 'removedBytes'],
          properties: {
            run: { ...count, description: 'Its number.' },
            state: {
              type: 'string',
              enum: ['running', 'held', 'done', 'failed'],
              description: '`held`: it waits until somebody confirms it.',
            },
            begunAt: { type: 'string', format: 'date-time', maxLength: 64, description: 'When it began.' },
            removedPaths: { ...count, description: 'Paths that it removes, has removed, or would remove.' },
            removedBytes: { ...bytes, description: 'Bytes of those, rounded.' },
          },
        },
      },
    },
    conditions,
  },
} as const satisfies Schema;

export type BinaryCacheStatus = Of<typeof binaryCacheStatus>;
