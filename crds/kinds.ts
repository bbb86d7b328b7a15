import { agentSpec, agentStatus } from './agent.ts';
import { binaryCacheSpec } from './binary-cache.ts';
import { binaryCacheStatus } from './binary-cache-status.ts';
import { agentRules, binaryCacheRules, type RuleSet, workspaceRules } from './rules.ts';
import type { Schema } from './schema.ts';
import { workspaceSpec, workspaceStatus } from './workspace.ts';

export interface Column {
  name: string;
  type: 'string' | 'integer' | 'date';
  jsonPath: string;
  /** 1 is shown by `-o wide` only. */
  priority?: 1;
}

/** Everything about a kind that is not its spec: how it is called and how kubectl shows it. */
export interface Kind {
  kind: 'BinaryCache' | 'Workspace' | 'Agent';
  plural: string;
  shortNames: readonly string[];
  description: string;
  spec: Schema;
  status: Schema;
  rules: readonly RuleSet[];
  columns: readonly Column[];
  scale?: { specReplicasPath: string; statusReplicasPath: string; labelSelectorPath: string };
  selectableFields?: readonly string[];
}

const condition = (name: string, type: string, field: 'status' | 'reason'): Column => ({
  name,
  type: 'string',
  jsonPath: `.status.conditions[?(@.type=="${type}")].${field}`,
});
const ready = condition('Ready', 'Ready', 'status');
const reason = condition('Reason', 'Ready', 'reason');
const age: Column = { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' };

export const binaryCacheKind = {
  kind: 'BinaryCache',
  plural: 'binarycaches',
  shortNames: ['bc'],
  description: 'A Nix binary cache.',
  spec: binaryCacheSpec,
  status: binaryCacheStatus,
  rules: binaryCacheRules,
  columns: [
    ready,
    reason,
    { name: 'Replicas', type: 'integer', jsonPath: '.status.readyReplicas' },
    { name: 'URL', type: 'string', jsonPath: '.status.url' },
    { name: 'Used', type: 'string', jsonPath: '.status.usage.bytes', priority: 1 },
    { name: 'Access', type: 'string', jsonPath: '.spec.access', priority: 1 },
    { name: 'Strategy', type: 'string', jsonPath: '.spec.strategy', priority: 1 },
    age,
  ],
  scale: {
    specReplicasPath: '.spec.replicas',
    statusReplicasPath: '.status.replicas',
    labelSelectorPath: '.status.selector',
  },
} as const satisfies Kind;

export const workspaceKind = {
  kind: 'Workspace',
  plural: 'workspaces',
  shortNames: ['ws'],
  description: 'A group of machines that are deployed to from one cache.',
  spec: workspaceSpec,
  status: workspaceStatus,
  rules: workspaceRules,
  columns: [
    { name: 'Cache', type: 'string', jsonPath: '.spec.cacheRef.name' },
    { name: 'Agents', type: 'integer', jsonPath: '.status.agentCount' },
    ready,
    reason,
    age,
  ],
  selectableFields: ['.spec.cacheRef.name'],
} as const satisfies Kind;

export const agentKind = {
  kind: 'Agent',
  plural: 'agents',
  shortNames: [],
  description: 'A machine that is deployed to.',
  spec: agentSpec,
  status: agentStatus,
  rules: agentRules,
  columns: [
    { name: 'Workspace', type: 'string', jsonPath: '.spec.workspaceRef.name' },
    condition('Connected', 'Connected', 'status'),
    { name: 'Deployed', type: 'integer', jsonPath: '.status.deployment.index' },
    { name: 'Result', type: 'string', jsonPath: '.status.deployment.result' },
    { name: 'Last seen', type: 'date', jsonPath: '.status.lastSeenTime', priority: 1 },
    age,
  ],
  selectableFields: ['.spec.workspaceRef.name'],
} as const satisfies Kind;

/** Every kind of ours, in the order of the documentation. */
export const kinds: readonly Kind[] = [binaryCacheKind, workspaceKind, agentKind];
