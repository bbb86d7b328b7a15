import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { withTable } from '../../../hack/chart/readme.mjs';
import { toSchema } from '../../../hack/chart/schema.mjs';
import { readValues } from '../../../hack/chart/values.mjs';
import { root } from '../../../hack/lib/places.mjs';

const chart = path.join(root, 'charts/narwhal');
const text = readFileSync(path.join(chart, 'values.yaml'), 'utf8');
const values = readValues(text);

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
}

describe('the values of the chart', () => {
  it('are documented to the last one, each by a sentence', () => {
    const documented = new Set(values.map(({ path }) => path.join('.')));
    const undocumented = (tree: object, at: string): string[] =>
      Object.entries(tree).flatMap(([key, value]) => {
        const here = at === '' ? key : `${at}.${key}`;
        if (documented.has(here)) return [];
        const isGroup = typeof value === 'object' && value !== null && !Array.isArray(value);
        return isGroup ? undocumented(value, here) : [here];
      });
    assert.deepEqual(undocumented(parse(text), ''), []);
    for (const { path, description } of values) assert.match(description, /^[A-Z`].*\.$/, path.join('.'));
  });

  it('are read with their place, their default and all lines of their comment', () => {
    const read = readValues('# No value.\na:\n  # -- Says\n  # more.\n  b: {c: 1}\n  # d: 2\n# -- Next.\ne:\n  - f\n');
    assert.deepEqual(read, [
      { path: ['a', 'b'], initial: { c: 1 }, description: 'Says more.' },
      { path: ['e'], initial: ['f'], description: 'Next.' },
    ]);
  });

  it('are the only ones that the schema allows, in every group', () => {
    const schema = toSchema(values) as Schema;
    for (const { path } of values) {
      let group: Schema = schema;
      for (const name of path) {
        assert.equal(group.additionalProperties, false, path.join('.'));
        const next = group.properties?.[name];
        assert.ok(next, path.join('.'));
        group = next;
      }
    }
  });

  it('have no schema by accident', () => {
    const value = { path: ['a'], initial: [], description: 'A.' };
    assert.throws(() => toSchema([...values, value]), /has to say what a may be/);
    assert.throws(() => toSchema(values.slice(1, 3)), /refines values that are not there/);
  });

  it('stand in the table between the marks of the README, whatever they hold', () => {
    const page = readFileSync(path.join(chart, 'README.md'), 'utf8');
    assert.equal(withTable(page, values), page);
    const other = withTable(page, [{ path: ['a', 'b'], initial: '|', description: 'One | other.' }]);
    assert.ok(other.includes('| `a.b` | `"\\|"` | One \\| other. |'));
    assert.throws(() => withTable('no marks', values), /lacks/);
  });
});

describe('the chart', () => {
  it('has the version of the program', () => {
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
    const about = parse(readFileSync(path.join(chart, 'Chart.yaml'), 'utf8'));
    assert.equal(about.version, version);
    assert.equal(about.appVersion, version);
    assert.deepEqual(parse(about.annotations['artifacthub.io/images']), [
      { name: 'narwhal', image: `ghcr.io/narwhal-cache/narwhal:${version}` },
    ]);
  });
});
