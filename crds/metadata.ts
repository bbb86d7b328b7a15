import { dnsLabel, objectName, stringMap } from './fields.ts';
import type { Of, Schema } from './schema.ts';

const anything = {} as const satisfies Schema;

/** What a manifest may say in `metadata`, including what `kubectl get -o yaml` prints there. */
export const metadata = {
  type: 'object',
  required: ['name'],
  properties: {
    name: { ...objectName, description: 'Name of the object, unique for its kind.' },
    namespace: { ...dnsLabel, description: 'Namespace in a cluster.' },
    labels: { ...stringMap, description: 'Labels, for people and selectors.' },
    annotations: {
      type: 'object',
      additionalProperties: { type: 'string' },
      description: 'Notes, for people and programs.',
    },
    uid: anything,
    generation: anything,
    generateName: anything,
    resourceVersion: anything,
    selfLink: anything,
    creationTimestamp: anything,
    deletionTimestamp: anything,
    deletionGracePeriodSeconds: anything,
    finalizers: anything,
    managedFields: anything,
    ownerReferences: anything,
  },
} as const satisfies Schema;

export type Metadata = Of<typeof metadata>;
