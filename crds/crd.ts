import { createHash } from 'node:crypto';
import { apiVersion } from './fields.ts';
import { type Kind, kinds } from './kinds.ts';
import type { RuleSet } from './rules.ts';
import { ownKeys, type Schema } from './schema.ts';

type Json = { [key: string]: unknown };

/** The CustomResourceDefinition of a kind, as a plain object. */
export function toCrd(kind: Kind): Json {
  const [group, version] = apiVersion.split('/');
  const singular = kind.kind.toLowerCase();
  const names = { kind: kind.kind, listKind: `${kind.kind}List`, plural: kind.plural, singular, categories: ['nix'] };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${kind.plural}.${group}`, annotations: { [schemaHash.annotation]: hashOf(kind) } },
    spec: {
      group,
      scope: 'Namespaced',
      names: kind.shortNames.length > 0 ? { ...names, shortNames: kind.shortNames } : names,
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: kind.scale ? { status: {}, scale: kind.scale } : { status: {} },
          additionalPrinterColumns: kind.columns,
          ...(kind.selectableFields && { selectableFields: kind.selectableFields.map((jsonPath) => ({ jsonPath })) }),
          schema: { openAPIV3Schema: rootSchema(kind) },
        },
      ],
    },
  };
}

/** A CRD tells which schema it has, so that an operator notices one that is older or newer than itself. */
export const schemaHash = {
  annotation: 'narwhal.dev/schema',
  /** Of a kind, as this version has it. */
  of(kind: Kind['kind']): string | undefined {
    const found = kinds.find((it) => it.kind === kind);
    return found && hashOf(found);
  },
};

function hashOf(kind: Kind): string {
  return createHash('sha256')
    .update(JSON.stringify(rootSchema(kind)))
    .digest('hex')
    .slice(0, 16);
}

function rootSchema(kind: Kind): Json {
  return {
    type: 'object',
    description: kind.description,
    required: ['spec'],
    ...validations(kind.rules, ''),
    properties: {
      apiVersion: { type: 'string' },
      kind: { type: 'string' },
      metadata: { type: 'object' },
      spec: fieldSchema(kind.spec, kind.rules, 'spec'),
      status: fieldSchema(kind.status, [], 'status'),
    },
  };
}

/** A schema without the keys that only we read, with the CEL rules of its place and of the places inside it. */
function fieldSchema(schema: Schema, rules: readonly RuleSet[], at: string): Json {
  const { properties, items, additionalProperties, ...own } = schema;
  const plain = Object.fromEntries(Object.entries(own).filter(([key]) => !ownKeys.includes(key)));
  return {
    ...plain,
    ...validations(rules, at),
    ...(properties && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, field]) => [name, fieldSchema(field, rules, `${at}.${name}`)]),
      ),
    }),
    ...(items && { items: fieldSchema(items, rules, `${at}[]`) }),
    ...(additionalProperties && { additionalProperties: fieldSchema(additionalProperties, rules, `${at}.*`) }),
  };
}

function validations(rules: readonly RuleSet[], at: string): Json {
  const here = rules.filter((set) => set.at === at).flatMap((set) => set.rules);
  if (here.length === 0) return {};
  return {
    'x-kubernetes-validations': here.map(({ cel, message }) => ({ rule: cel.replace(/\s+/g, ' '), message })),
  };
}
