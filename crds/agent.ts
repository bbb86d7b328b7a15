import {
  conditions,
  dnsLabel,
  objectName,
  observedGeneration,
  sha256,
  stringMap,
  time,
  tokenSecretRef,
} from './fields.ts';
import { resources } from './pod.ts';
import type { Of, Schema } from './schema.ts';

const storePath = {
  type: 'string',
  maxLength: 512,
  pattern: '^/nix/store/[0-9a-df-np-sv-z]{32}-[-+._?=0-9a-zA-Z]+$',
  allowed: 'a store path, /nix/store/<hash>-<name>',
} as const satisfies Schema;

/** One machine of a workspace. */
export const agentSpec = {
  type: 'object',
  required: ['workspaceRef'],
  properties: {
    workspaceRef: {
      type: 'object',
      description: 'The workspace that the machine belongs to. It cannot change.',
      required: ['name'],
      properties: { name: { ...dnsLabel, description: 'Name of the Workspace.' } },
    },
    agentName: {
      type: 'string',
      minLength: 1,
      maxLength: 253,
      pattern: '^[A-Za-z0-9][-._A-Za-z0-9]*$',
      allowed: 'letters, digits, dashes, dots and underscores, beginning with a letter or digit',
      description: 'Name by which the machine reports. Absent: the name of this object. It cannot change.',
    },
    token: {
      type: 'object',
      description: 'Token of this machine alone. Absent: generated once.',
      properties: { sha256, secretRef: tokenSecretRef },
    },
    deploy: {
      type: 'object',
      description: 'What the machine shall run. A change is activated and its result reported.',
      required: ['storePath'],
      properties: {
        storePath: { ...storePath, description: 'The system or profile to activate.' },
        rollbackScript: { ...storePath, description: 'Program that decides after the activation whether to keep it.' },
      },
    },
    pod: {
      type: 'object',
      description: 'Run the agent in the cluster. Absent: it runs elsewhere.',
      properties: {
        image: {
          type: 'string',
          minLength: 1,
          maxLength: 512,
          pattern: '^\\S+$',
          allowed: 'an image reference without spaces',
          description: 'Image with the agent. Absent: the one that belongs to the operator.',
        },
        nodeSelector: { ...stringMap, description: 'Labels that a node must carry.' },
        serviceAccountName: { ...objectName, description: 'ServiceAccount of the pod.' },
        resources,
      },
    },
  },
} as const satisfies Schema;

/** What the operator reports of an agent. */
export const agentStatus = {
  type: 'object',
  properties: {
    observedGeneration,
    tokenSecretName: { ...objectName, description: 'Secret that holds the token of the machine.' },
    lastSeenTime: { ...time, description: 'When the machine was last connected, roughly.' },
    version: { type: 'string', maxLength: 128, description: 'Version of the agent.' },
    deployment: {
      type: 'object',
      description: 'The latest deployment.',
      properties: {
        index: { type: 'integer', format: 'int64', minimum: 0, description: 'Number of the deployment.' },
        storePath: { ...storePath, description: 'What was activated.' },
        result: {
          type: 'string',
          enum: ['Pending', 'InProgress', 'Succeeded', 'Failed', 'Cancelled'],
          description: 'How it went.',
        },
        startTime: { ...time, description: 'When it began.' },
        endTime: { ...time, description: 'When it ended.' },
      },
    },
    conditions,
  },
} as const satisfies Schema;

export type AgentSpec = Of<typeof agentSpec>;
export type AgentStatus = Of<typeof agentStatus>;
