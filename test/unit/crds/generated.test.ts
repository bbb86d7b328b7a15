import assert from 'node:assert/strict';
import { toCrd } from '../../../crds/crd.ts';
import { kinds } from '../../../crds/index.ts';
import { toReference } from '../../../crds/reference.ts';
import type { Schema } from '../../../crds/schema.ts';
import { clusterOnly, notBuilt, processOnly } from '../../../crds/support.ts';
import { validate } from '../../../crds/validate.ts';

/** Every field below a schema, with its place. */
function* fieldsOf(schema: Schema, at: string): Generator<{ at: string; field: Schema; named: boolean }> {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    yield { at: `${at}.${name}`, field, named: true };
    yield* fieldsOf(field, `${at}.${name}`);
  }
  for (const [suffix, inner] of [
    ['[]', schema.items],
    ['.*', schema.additionalProperties],
  ] as const) {
    if (!inner) continue;
    yield { at: `${at}${suffix}`, field: inner, named: false };
    yield* fieldsOf(inner, `${at}${suffix}`);
  }
}

for (const kind of kinds) {
  const fields = [...fieldsOf(kind.spec, 'spec')];
  const all = [...fields, ...fieldsOf(kind.status, 'status')];

  describe(`the schema of ${kind.kind}`, () => {
    it('describes every field with a sentence', () => {
      for (const { at, field, named } of all) if (named) assert.match(field.description ?? '', /\.$/, at);
    });

    it('bounds every text, list and map, which rules of the API server need', () => {
      for (const { at, field } of all) {
        if (field.type === 'string' && !field.enum) assert.ok(field.maxLength, at);
        if (field['x-kubernetes-int-or-string']) assert.ok(field.maxLength, at);
        if (field.type === 'array') assert.ok(field.maxItems, at);
        if (field.additionalProperties) assert.ok(field.maxProperties, at);
      }
    });

    it('bounds every number of a spec', () => {
      for (const { at, field } of fields) {
        if (field.type === 'integer' && !at.endsWith('tolerationSeconds')) assert.ok(field.maximum !== undefined, at);
      }
    });

    it('says in words what each pattern allows', () => {
      for (const { at, field } of fields) if (field.pattern) assert.ok(field.allowed, at);
    });

    it('has defaults that are valid themselves', () => {
      for (const { at, field } of fields) {
        if (field.default !== undefined) assert.deepEqual(validate(field, field.default).issues, [], at);
      }
    });

    it('says of every list how two versions of it are merged', () => {
      for (const { at, field } of all) if (field.type === 'array') assert.ok(field['x-kubernetes-list-type'], at);
    });

    it('requires or defaults the keys of every list of named things', () => {
      for (const { at, field } of all) {
        for (const key of field['x-kubernetes-list-map-keys'] ?? []) {
          const isThere = field.items?.required?.includes(key) || field.items?.properties?.[key]?.default !== undefined;
          assert.ok(isThere, `${at} ${key}`);
        }
      }
    });

    it('holds no key of ours in the CRD, and every rule', () => {
      const text = JSON.stringify(toCrd(kind));
      assert.ok(!/"(allowed":|bytes":true)/.test(text));
      for (const { at, rules } of kind.rules) {
        for (const { cel } of rules)
          assert.ok(text.includes(JSON.stringify(cel.replace(/\s+/g, ' '))), `${at}: ${cel}`);
      }
    });
  });
}

describe('the marks of fields', () => {
  const spec = kinds[0]?.spec ?? {};
  const places = new Set([...fieldsOf(spec, 'spec')].map(({ at }) => at));
  it('name fields that exist', () => {
    for (const at of [...clusterOnly, ...processOnly, ...notBuilt.map((entry) => entry.at)])
      assert.ok(places.has(at), at);
  });
});

describe('the reference page', () => {
  const page = toReference(kinds);
  it('has a row for every field of every spec', () => {
    for (const kind of kinds) {
      for (const { at, named } of fieldsOf(kind.spec, 'spec')) {
        if (named) assert.ok(page.includes(`| \`${at.split('.').at(-1)}\` |`), at);
      }
    }
  });

  it('breaks no table by a bar in a text', () => {
    for (const line of page.split('\n').filter((text) => text.startsWith('|'))) {
      assert.equal(line.replaceAll('\\|', '').split('|').length, 6, line);
    }
  });
});
