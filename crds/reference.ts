import { apiVersion } from './fields.ts';
import type { Kind } from './kinds.ts';
import type { Schema } from './schema.ts';
import { clusterOnly, kindsNotBuilt, notBuilt, processOnly } from './support.ts';

/** The reference of all kinds as a page of Markdown. */
export function toReference(kinds: readonly Kind[]): string {
  return `${[opening, ...kinds.map(kindSection), closing].join('\n\n')}\n`;
}

const opening = `# Configuration

<!-- Made by hack/generate.mjs from the schemas in crds/. Change those and run: node hack/generate.mjs -->

Narwhal is configured by Kubernetes manifests of the group \`${apiVersion}\`, with or without a cluster. A file may hold
several documents, separated by \`---\`; Secrets (\`v1\`) may stand beside them. The files in [examples](../examples) are
a good beginning.

A mistake is reported with its file, line and field, together with what is allowed, and nothing of the new
configuration is applied.

Marks in the tables:

- **required**: there is no default and the field may not be left out.
- *cluster only*: a server that runs as a plain process checks the field, says once that it ignores it, and goes on.
- *process only*: a cluster ignores the field.
- *not supported yet*: the field is part of the design; this version of the server refuses it.

A size is a number of bytes, plain or with a unit: \`k M G T P\` (powers of 1000) or \`Ki Mi Gi Ti Pi\` (powers of 1024).`;

const closing = `## Secret

The usual kind of Kubernetes (\`apiVersion: v1\`). \`stringData\` holds texts, \`data\` the same in base64; where both have
a key, \`stringData\` wins. A reference finds a Secret of the same namespace. Where none of the manifests has it, a server that was started with
\`--secrets\` looks among those that are [mounted](operations.md#mounted-secrets-and-volumes), whatever their namespace.`;

function kindSection(kind: Kind): string {
  const refused = kindsNotBuilt.includes(kind.kind)
    ? '\n\n*Not supported yet*: this version of the server refuses this kind.'
    : '';
  const name =
    kind.kind === 'BinaryCache'
      ? '\n\n`metadata.name` is part of host names: lower-case letters, digits and dashes, beginning with a letter, at most 45 characters, and not `api`.'
      : '';
  return [
    `## ${kind.kind}\n\n${kind.description}${refused}${name}`,
    ...objectSections(kind.spec, 'spec'),
    ruleSection(kind),
  ].join('\n\n');
}

/** A table for an object, followed by one for each object inside it. */
function objectSections(schema: Schema, at: string): string[] {
  const fields = Object.entries(schema.properties ?? {});
  const rows = fields.map(([name, field]) =>
    row(name, field, `${at}.${name}`, schema.required?.includes(name) ?? false),
  );
  const table = ['| field | type | default | description |', '|---|---|---|---|', ...rows].join('\n');
  const inner = fields.flatMap(([name, field]) => {
    if (field.properties) return objectSections(field, `${at}.${name}`);
    return field.items?.properties ? objectSections(field.items, `${at}.${name}[]`) : [];
  });
  return [`### ${at}\n\n${table}`, ...inner];
}

function row(name: string, field: Schema, at: string, required: boolean): string {
  const cells = [
    `\`${name}\``,
    typeOf(field),
    defaultOf(field, required),
    [...marksOf(at), ...textsOf(field)].join(' '),
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
}

function typeOf(field: Schema): string {
  if (field.bytes) return 'size';
  if (field['x-kubernetes-int-or-string']) return 'text or number';
  if (field.enum) return field.enum.map((value) => `\`${value}\``).join(', ');
  if (field.type === 'array') return `list of ${field.items?.properties ? 'objects' : typeOf(field.items ?? {})}`;
  if (field.type === 'string') return field.format === 'date-time' ? 'time' : 'text';
  if (field.type === 'integer') return 'whole number';
  if (field.type === 'boolean') return 'true, false';
  return field.additionalProperties ? `map to ${typeOf(field.additionalProperties)}` : 'object';
}

function defaultOf(field: Schema, required: boolean): string {
  if (required) return '**required**';
  if (field.default === undefined || typeof field.default === 'object') return '';
  return `\`${String(field.default)}\``;
}

function marksOf(at: string): string[] {
  const built = notBuilt.find((entry) => entry.at === at);
  const values = built?.values?.map((value) => `\`${value}\``).join(', ');
  return [
    ...(built ? [values ? `*${values}: not supported yet.*` : '*Not supported yet.*'] : []),
    ...(clusterOnly.includes(at) ? ['*Cluster only.*'] : []),
    ...(processOnly.includes(at) ? ['*Process only.*'] : []),
  ];
}

function textsOf(field: Schema): string[] {
  const texts = [field.description ?? ''];
  const inner = field.items && !field.items.properties ? field.items : field;
  if (inner.allowed && !inner.bytes) texts.push(`Allowed: ${inner.allowed}.`);
  if (field.minimum !== undefined && field.maximum !== undefined)
    texts.push(`From ${field.minimum} to ${field.maximum}.`);
  if (field.type === 'array' && field.maxItems) texts.push(`At most ${field.maxItems}.`);
  if (inner.type === 'string' && !inner.enum && inner.maxLength && !inner.format)
    texts.push(`At most ${inner.maxLength} characters.`);
  return texts.filter((text) => text !== '');
}

function ruleSection(kind: Kind): string {
  const rules = kind.rules.flatMap(({ at, rules: here }) =>
    here.map(({ message }) => `- \`${at === '' ? 'metadata' : at}\`: ${message}`),
  );
  return `### Rules for ${kind.kind}\n\n${[...new Set(rules)].join('\n')}`;
}
