import {
  conditions,
  dnsLabel,
  expiresAt,
  objectName,
  observedGeneration,
  sha256,
  time,
  tokenSecretRef,
} from './fields.ts';
import type { Of, Schema } from './schema.ts';

/** A group of machines that are deployed to from one cache. */
export const workspaceSpec = {
  type: 'object',
  required: ['cacheRef'],
  properties: {
    cacheRef: {
      type: 'object',
      description: 'The cache that the machines pull from. It cannot change.',
      required: ['name'],
      properties: { name: { ...dnsLabel, maxLength: 45, description: 'Name of the BinaryCache.' } },
    },
    registration: {
      type: 'string',
      enum: ['Open', 'Declared'],
      default: 'Open',
      description:
        '`Open`: every machine with an agent token may join under a name of its own. `Declared`: only those with an Agent object.',
    },
    closureCheck: {
      type: 'string',
      enum: ['Enforce', 'Warn'],
      default: 'Enforce',
      description: 'What happens to a deployment whose closure is not in the cache: refused, or sent with a warning.',
    },
    tokens: {
      type: 'array',
      maxItems: 128,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'Who may do what. A token with neither `sha256` nor `secretRef` is generated once.',
      items: {
        type: 'object',
        required: ['name', 'kind'],
        properties: {
          name: { ...dnsLabel, description: 'Name of the token.' },
          kind: {
            type: 'string',
            enum: ['Agent', 'Activate'],
            description: '`Agent` lets a machine join, `Activate` starts deployments.',
          },
          expiresAt,
          sha256,
          secretRef: tokenSecretRef,
        },
      },
    },
  },
} as const satisfies Schema;

/** What the operator reports of a workspace. */
export const workspaceStatus = {
  type: 'object',
  properties: {
    observedGeneration,
    agentCount: { type: 'integer', format: 'int32', minimum: 0, description: 'Number of agents.' },
    agents: {
      type: 'array',
      maxItems: 1024,
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['name'],
      description: 'Agents that registered by themselves.',
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { ...objectName, description: 'Name of the agent.' },
          lastSeenTime: { ...time, description: 'When it was last connected, roughly.' },
        },
      },
    },
    conditions,
  },
} as const satisfies Schema;

export type WorkspaceSpec = Of<typeof workspaceSpec>;
export type WorkspaceStatus = Of<typeof workspaceStatus>;
