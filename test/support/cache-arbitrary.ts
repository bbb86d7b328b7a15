/**
 * Any BinaryCache that the API server would take: drawn from the schema itself, so that a new field is tested without
 * a line here, then mended where rules over several fields would refuse it.
 */
import fc from 'fast-check';
import { binaryCacheSpec } from '../../crds/binary-cache.ts';
import { without } from '../../crds/index.ts';
import type { Schema } from '../../crds/schema.ts';
import { notBuilt } from '../../crds/support.ts';
import type { Cache } from '../../operator/cache/types.ts';
import type { Value } from './manifests.ts';
import { cacheOf } from './operator-fixtures.ts';

/** Enough to meet others of its kind, few enough to be quick. */
const MOST_ITEMS = 3;

/** Any value that a schema allows. */
function anyValue(schema: Schema): fc.Arbitrary<unknown> {
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema['x-kubernetes-int-or-string']) return schema.bytes ? size : quantity;
  if (schema.format === 'date-time') return time;
  switch (schema.type) {
    case 'string':
      return textOf(schema);
    case 'integer':
      return fc.integer({ min: schema.minimum ?? 0, max: Math.min(schema.maximum ?? 1000, 2 ** 31 - 1) });
    case 'boolean':
      return fc.boolean();
    case 'array':
      return listOf(schema);
    default:
      return mapOf(schema);
  }
}

const size = fc.oneof(
  fc.integer({ min: 1, max: 2 ** 40 }),
  fc
    .tuple(fc.constantFrom('1', '7', '0.5', '1.1', '100'), fc.constantFrom('k', 'Mi', 'G', 'Ti'))
    .map((it) => it.join('')),
);

const quantity = fc.constantFrom('1', '100m', '1000m', '1.5', '1024Mi', '2Gi', 4);

const time = fc
  .date({ min: new Date('1970-01-01'), max: new Date('2999-01-01'), noInvalidDate: true })
  .map((date) => date.toISOString());

function textOf({ pattern, minLength = 0, maxLength = 1024 }: Schema): fc.Arbitrary<string> {
  const text =
    pattern === undefined
      ? fc.string({ minLength, maxLength: Math.min(maxLength, 20) })
      : fc.stringMatching(new RegExp(pattern), { size: '-1' });
  return text.filter((it) => it.length >= minLength && it.length <= maxLength);
}

function listOf(schema: Schema): fc.Arbitrary<unknown[]> {
  const { items = {}, minItems = 0, maxItems = MOST_ITEMS } = schema;
  const keys = schema['x-kubernetes-list-map-keys'];
  const isSet = schema['x-kubernetes-list-type'] === 'set';
  return fc.uniqueArray(anyValue(items), {
    minLength: minItems,
    maxLength: Math.max(minItems, Math.min(maxItems, MOST_ITEMS)),
    comparator: 'IsStrictlyEqual',
    selector: (item) => {
      if (keys) return JSON.stringify(keys.map((key) => (item as Value)[key] ?? items.properties?.[key]?.default));
      return isSet ? JSON.stringify(item) : item;
    },
  });
}

function mapOf({ properties, required = [], additionalProperties }: Schema): fc.Arbitrary<unknown> {
  if (additionalProperties) {
    const key = fc.constantFrom('cpu', 'memory', 'example.org/a', 'app.kubernetes.io/name', 'narwhal.dev/cache');
    return fc.dictionary(key, anyValue(additionalProperties), { maxKeys: MOST_ITEMS, noNullPrototype: true });
  }
  // What the schema leaves open goes through us unread.
  if (!properties) return fc.constantFrom({}, { podSelector: { matchLabels: { a: 'b' } } });
  const fields = Object.entries(properties).map(([name, field]) => [name, anyValue(field)] as const);
  return fc.record(Object.fromEntries(fields), { requiredKeys: [...required], noNullPrototype: true });
}

type Field = { [field: string]: unknown };

/** A spec as it is drawn: any field may be there, with a value of its own schema. */
type Spec = Field & {
  storages: Field[];
  tokens?: Field[];
  pins?: (Field & { keep?: Field })[];
  retention?: Field;
  quota?: Field;
  signing: Field;
  database: { postgres?: { tls?: Field }; sqlite?: unknown };
};

function mended(drawn: Field): Value {
  const sound = without(
    drawn,
    notBuilt.map(({ at }) => at.replace('spec.', '')),
  );
  const spec = { signing: {}, database: {}, ...sound } as Spec;
  mendStorages(spec);
  mendTokens(spec);
  mendPins(spec);
  mendRetention(spec);
  mendSigning(spec);
  mendDatabase(spec);
  if (spec.ingress) delete spec.httpRoute;
  if (spec.autoscaling) (spec.autoscaling as Field).minReplicas = 1;
  return spec;
}

function mendStorages(spec: Spec): void {
  const { storages, strategy } = spec;
  for (const [index, storage] of storages.entries()) {
    if (storage.s3) delete storage.local;
    else storage.local ??= {};
    // A name that no other storage has by chance.
    if (storage.name === 'db') storage.name = 'notthedatabase';
    if (strategy === 'Split') storage.weight = index === 0 ? 100 : 0;
  }
}

function mendTokens({ tokens = [] }: Spec): void {
  for (const token of tokens) if (token.sha256) delete token.secretRef;
}

/** From the quota and the high mark down. */
function mendRetention({ retention, quota }: Spec): void {
  if (retention?.lowPercent !== undefined)
    retention.lowPercent = Math.min(Number(retention.lowPercent), Number(retention.highPercent ?? 100));
  else if (retention?.highPercent !== undefined) retention.highPercent = Math.max(90, Number(retention.highPercent));
  if (retention !== undefined && quota !== undefined) delete retention.maxSize;
  if (retention !== undefined && retention.maxSize === undefined) retention.days ??= 30;
}

function mendPins({ pins = [] }: Spec): void {
  for (const { keep } of pins)
    if (keep?.days !== undefined) delete keep.revisions;
    else if (keep) keep.revisions ??= 1;
}

function mendSigning({ signing }: Spec): void {
  if (signing.mode === 'SelfSigned') delete signing.secretRefs;
  else delete signing.publicKeys;
}

/** PostgreSQL has everything given; a cache without has one pod. */
function mendDatabase(spec: Spec): void {
  const { storages, tokens = [], signing, database } = spec;
  const { postgres } = database;
  if (!postgres) {
    spec.replicas = Math.min(Number(spec.replicas ?? 1), 1);
    delete spec.autoscaling;
    return;
  }
  delete database.sqlite;
  spec.rootSecretRef ??= { name: 'root' };
  if (signing.mode !== 'SelfSigned') signing.secretRefs ??= [{ name: 'signing' }];
  for (const token of tokens) if (!token.sha256) token.secretRef ??= { name: 'tokens', key: String(token.name) };
  for (const { local } of storages) if (local) (local as Field).accessMode = 'ReadWriteMany';
  const { tls } = postgres;
  if (!tls) return;
  if (tls.mode === 'VerifyCa') tls.caSecretRef ??= { name: 'ca' };
  else if (tls.mode !== 'VerifyFull') delete tls.caSecretRef;
}

/** The name of a cache as the rules and a Service want it. */
export const cacheName = fc
  .oneof(fc.stringMatching(/^[a-z]([-a-z0-9]{0,43}[a-z0-9])?$/), fc.constantFrom('a', 'on', 'x'.repeat(45)))
  .filter((name) => name !== 'api');

export const anyCache: fc.Arbitrary<Cache> = fc
  .record({ spec: anyValue(binaryCacheSpec), name: cacheName })
  .map(({ spec, name }) => cacheOf(mended(spec as Field), { name }));
