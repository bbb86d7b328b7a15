import { nearest } from './nearest.ts';
import { isMapping, type Path } from './path.ts';
import { parseQuantity, QuantityError } from './quantity.ts';
import type { Of, Schema } from './schema.ts';

/** One thing that is wrong with a value. The message never holds the value itself, which may be a secret. */
export interface Issue {
  path: Path;
  message: string;
}

/** Of a value with issues only the sound parts are left. */
export type Validated<S> = { ok: true; value: Of<S>; issues: [] } | { ok: false; value: unknown; issues: Issue[] };

/** Checks a plain value against a schema, collects everything that is wrong and fills in the defaults. */
export function validate<S extends Schema>(schema: S, value: unknown, at: Path = []): Validated<S> {
  const issues: Issue[] = [];
  const checked = check(schema, value, at, issues);
  if (issues.length > 0) return { ok: false, value: checked, issues };
  // Of<S> says in types what the checks above have just established for this very schema.
  return { ok: true, value: checked as Of<S>, issues: [] };
}

type Check = (schema: Schema, value: unknown, at: Path, issues: Issue[]) => unknown;

const kinds = {
  object: { word: 'a mapping', is: isMapping, check: checkObject },
  array: { word: 'a list', is: Array.isArray, check: checkArray },
  string: { word: 'text', is: (value: unknown) => typeof value === 'string', check: checkText },
  integer: { word: 'a whole number', is: Number.isSafeInteger, check: checkNumber },
  boolean: { word: 'true or false', is: (value: unknown) => typeof value === 'boolean', check: keep },
} satisfies Record<string, { word: string; is: (value: unknown) => boolean; check: Check }>;

function check(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  const kind = schema.type && kinds[schema.type];
  if (!kind && !schema['x-kubernetes-int-or-string']) return value;
  if (value === null) {
    const empty = schema.type === 'object' ? ', or write {}' : schema.type === 'array' ? ', or write []' : '';
    issues.push({ path: at, message: `has no value: give it one, remove the field${empty}` });
    return undefined;
  }
  if (!kind) return checkQuantity(schema, value, at, issues);
  if (!kind.is(value)) {
    issues.push({ path: at, message: `must be ${kind.word}, but is ${describe(value)}` });
    return undefined;
  }
  return kind.check(schema, value, at, issues);
}

function keep(_schema: Schema, value: unknown): unknown {
  return value;
}

function checkObject(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  if (!isMapping(value)) return undefined;
  if (schema.additionalProperties) return checkEntries(schema, schema.additionalProperties, value, at, issues);
  if (!schema.properties) return value;
  const known = Object.keys(schema.properties);
  const result: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(schema.properties)) {
    if (Object.hasOwn(value, name)) {
      result[name] = check(field, value[name], [...at, name], issues);
    } else if (field.default !== undefined) {
      result[name] = check(field, structuredClone(field.default), [...at, name], issues);
    } else if (schema.required?.includes(name)) {
      issues.push({
        path: [...at, name],
        message: `is missing${field.enum ? `: one of ${field.enum.join(', ')}` : ''}`,
      });
    }
  }
  for (const name of Object.keys(value)) {
    if (known.includes(name)) continue;
    if (schema['x-kubernetes-preserve-unknown-fields']) result[name] = value[name];
    else issues.push({ path: [...at, name], message: unknownField(name, known) });
  }
  return result;
}

function checkEntries(
  schema: Schema,
  entry: Schema,
  value: Record<string, unknown>,
  at: Path,
  issues: Issue[],
): unknown {
  const names = Object.keys(value);
  if (names.length > (schema.maxProperties ?? Infinity)) {
    issues.push({ path: at, message: `has ${names.length} entries, at most ${schema.maxProperties} are allowed` });
  }
  const checked = names.map((name) => [name, check(entry, value[name], [...at, name], issues)]);
  return Object.fromEntries(checked);
}

function checkArray(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  if (!Array.isArray(value)) return undefined;
  const { minItems = 0, maxItems = Infinity, items } = schema;
  if (value.length < minItems)
    issues.push({ path: at, message: `needs at least ${plural(minItems, 'entry', 'entries')}` });
  if (value.length > maxItems) {
    issues.push({ path: at, message: `has ${value.length} entries, at most ${maxItems} are allowed` });
    return undefined;
  }
  const checked = items ? value.map((item, index) => check(items, item, [...at, index], issues)) : value;
  checkDuplicates(schema, checked, at, issues);
  return checked;
}

function checkDuplicates(schema: Schema, items: unknown[], at: Path, issues: Issue[]): void {
  const keys = schema['x-kubernetes-list-map-keys'];
  if (!keys && schema['x-kubernetes-list-type'] !== 'set') return;
  const first = new Map<string, number>();
  for (const [index, item] of items.entries()) {
    const identity = keys ? (isMapping(item) ? keys.map((key) => item[key]) : undefined) : [item];
    // An entry whose key is missing or wrong has been reported already.
    if (!identity || identity.includes(undefined)) continue;
    const text = JSON.stringify(identity);
    const earlier = first.get(text);
    if (earlier === undefined) first.set(text, index);
    else {
      const path = keys ? [...at, index, keys[0] ?? ''] : [...at, index];
      issues.push({ path, message: `is the same as in entry [${earlier}]: each may appear once` });
    }
  }
}

function checkText(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  const text = String(value);
  const message = textProblem(schema, text);
  if (message === undefined) return text;
  issues.push({ path: at, message });
  return undefined;
}

function textProblem(schema: Schema, text: string): string | undefined {
  if (schema.enum) {
    if (schema.enum.includes(text)) return undefined;
    const near = nearest(text, schema.enum);
    return `must be one of ${schema.enum.join(', ')}${near ? ` (did you mean ${near}?)` : ''}`;
  }
  // Kubernetes counts characters, not UTF-16 units.
  const length = [...text].length;
  if (!text.isWellFormed()) return 'must be text of whole characters, but has half of one';
  if (length === 0 && (schema.minLength ?? 0) > 0) return 'must not be empty: remove the field where nothing is meant';
  if (length < (schema.minLength ?? 0))
    return `must have at least ${plural(schema.minLength ?? 0, 'character', 'characters')}`;
  if (length > (schema.maxLength ?? Infinity))
    return `must have at most ${schema.maxLength} characters, but has ${length}`;
  const formed = !schema.pattern || new RegExp(schema.pattern, 'u').test(text);
  if (!formed || (schema.format === 'date-time' && !isTime(text)))
    return `must be ${schema.allowed ?? `a ${schema.format}`}`;
  return undefined;
}

/** RFC 3339 with a time zone, and a day that exists. */
function isTime(text: string): boolean {
  const match = /^(\d{4}-\d{2}-\d{2})[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/.exec(text);
  if (!match || Number.isNaN(Date.parse(text.toUpperCase()))) return false;
  const day = match[1] ?? '';
  // Date.parse takes 31 February for 3 March.
  return new Date(`${day}T00:00:00Z`).toISOString().startsWith(day);
}

function checkNumber(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  const { minimum = -Infinity, maximum = Infinity } = schema;
  if (Number(value) >= minimum && Number(value) <= maximum) return value;
  const range = maximum === Infinity ? `at least ${minimum}` : `between ${minimum} and ${maximum}`;
  issues.push({ path: at, message: `must be ${range}` });
  return undefined;
}

function checkQuantity(schema: Schema, value: unknown, at: Path, issues: Issue[]): unknown {
  const message = quantityProblem(schema, value);
  if (message === undefined) return value;
  issues.push({ path: at, message });
  return undefined;
}

function quantityProblem(schema: Schema, value: unknown): string | undefined {
  const wrong = `must be ${schema.allowed}`;
  if (typeof value === 'number' ? !Number.isSafeInteger(value) || value < 0 : typeof value !== 'string') return wrong;
  if (schema.pattern && !new RegExp(schema.pattern, 'u').test(String(value))) return wrong;
  if (!schema.bytes || (typeof value !== 'string' && typeof value !== 'number')) return undefined;
  try {
    parseQuantity(value);
  } catch (error) {
    if (error instanceof QuantityError) return error.message;
    throw error;
  }
  return undefined;
}

/** What to say of a field that nobody knows. */
export function unknownField(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  if (near) return `is not a known field; did you mean ${JSON.stringify(near)}?`;
  return `is not a known field; known here: ${known.join(', ')}`;
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number')
    return Number.isInteger(value) ? 'a number (put it in quotes to make it text)' : 'a fraction';
  if (typeof value === 'boolean') return 'true or false (put it in quotes to make it text)';
  return typeof value === 'string' ? 'text' : 'a mapping';
}

function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
