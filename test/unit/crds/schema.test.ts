import assert from 'node:assert/strict';
import type { BinaryCacheSpec, TokenSpec } from '../../../crds/index.ts';
import { formatPath } from '../../../crds/index.ts';
import { nearest } from '../../../crds/nearest.ts';
import type { Of, Schema } from '../../../crds/schema.ts';
import { validate } from '../../../crds/validate.ts';

const example = {
  type: 'object',
  required: ['name'],
  properties: {
    name: { type: 'string', maxLength: 3 },
    mode: { type: 'string', enum: ['On', 'Off'], default: 'On' },
    count: { type: 'integer' },
    inner: { type: 'object', default: {}, properties: { size: { type: 'integer', default: 7 } } },
    labels: { type: 'object', maxProperties: 2, additionalProperties: { type: 'string' } },
  },
} as const satisfies Schema;

describe('a schema', () => {
  it('gives required and defaulted fields a type without undefined, and the others one with it', () => {
    const value: Of<typeof example> = { name: 'a', mode: 'Off', inner: { size: 1 } };
    const mode: 'On' | 'Off' = value.mode;
    const size: number = value.inner.size;
    // @ts-expect-error a field without a default may be missing
    const count: number = value.count;
    // @ts-expect-error no such mode
    const wrong: Of<typeof example> = { name: 'a', mode: 'Of', inner: { size: 1 } };
    // @ts-expect-error no such permission
    const permissions: TokenSpec['permissions'] = ['Reed'];
    const strategy: BinaryCacheSpec['strategy'] = 'Split';
    assert.deepEqual(
      [mode, size, count, wrong.mode, permissions.length, strategy],
      ['Off', 1, undefined, 'Of', 1, 'Split'],
    );
  });

  it('fills in defaults inside defaults', () => {
    const checked = validate(example, { name: 'a' });
    assert.deepEqual(checked, { ok: true, value: { name: 'a', mode: 'On', inner: { size: 7 } }, issues: [] });
  });

  it('leaves the value that it was given alone', () => {
    const given = Object.freeze({ name: 'a', inner: Object.freeze({}) });
    assert.ok(validate(example, given).ok);
  });

  it('counts characters as people do', () => {
    assert.ok(validate(example, { name: '🐋🐋🐋' }).ok);
    assert.ok(!validate(example, { name: '🐋🐋🐋🐋' }).ok);
  });

  it('knows no field that every JavaScript object has', () => {
    const given = JSON.parse('{"name": "a", "constructor": 1, "__proto__": {"count": 1}}');
    const paths = validate(example, given).issues.map(({ path }) => path.join('.'));
    assert.deepEqual(paths, ['constructor', '__proto__']);
  });

  it('bounds a map', () => {
    assert.ok(!validate(example, { name: 'a', labels: { a: '', b: '', c: '' } }).ok);
  });
});

describe('a path', () => {
  it('is written as people write it', () => {
    assert.equal(formatPath([]), '');
    assert.equal(formatPath(['spec', 'storages', 1, 'weight']), 'spec.storages[1].weight');
    assert.equal(formatPath(['metadata', 'labels', 'a.b/c']), 'metadata.labels["a.b/c"]');
  });
});

describe('the nearest name', () => {
  const names = ['storages', 'strategy', 'signing', 'access'];
  const table: [string, string | undefined][] = [
    ['storage', 'storages'],
    ['Strategy', 'strategy'],
    ['acces', 'access'],
    ['signign', 'signing'],
    ['replicas', undefined],
    ['x', undefined],
    ['', undefined],
  ];
  for (const [word, near] of table) {
    it(`of ${JSON.stringify(word)} is ${near ?? 'none'}`, () => assert.equal(nearest(word, names), near));
  }
});
