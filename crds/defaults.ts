import { isDeepStrictEqual } from 'node:util';
import { binaryCacheSpec } from './binary-cache.ts';
import { isMapping } from './path.ts';
import type { Schema } from './schema.ts';

/**
 * The spec of a BinaryCache without the fields that say what they say by default: whoever reads it fills them in. So a
 * reader of an older version meets a field that it does not know only where somebody has written it.
 */
export function withoutDefaults(spec: Readonly<Record<string, unknown>>): unknown {
  return sparse(binaryCacheSpec, spec);
}

function sparse(schema: Schema, value: unknown): unknown {
  const { items, properties } = schema;
  if (Array.isArray(value)) return items ? value.map((item) => sparse(items, item)) : value;
  if (!isMapping(value) || !properties) return value;
  const fields = Object.entries(value).map(([name, inner]) => {
    const field = properties[name];
    return { name, field, rest: field ? sparse(field, inner) : inner };
  });
  const said = fields.filter(({ field, rest }) => !field || field.default === undefined || !isDefault(field, rest));
  return Object.fromEntries(said.map(({ name, rest }) => [name, rest]));
}

const isDefault = (field: Schema, rest: unknown): boolean => isDeepStrictEqual(rest, sparse(field, field.default));
