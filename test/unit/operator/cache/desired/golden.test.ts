// The objects of known caches, byte for byte, so that a change of them is seen by whoever makes it and whoever reviews it.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parseAllDocuments, stringify } from 'yaml';
import { hashToken } from '../../../../../crds/index.ts';
import { desired } from '../../../../../operator/cache/desired/desired.ts';
import type { Inputs } from '../../../../../operator/cache/desired/inputs.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import { cacheOf, cachesOf, inputsOf } from '../../../../support/operator-fixtures.ts';
import { CACHES } from '../../../../tables/caches.ts';

const ROOT = path.join(import.meta.dirname, '../../../../..');
const EXAMPLES = path.join(ROOT, 'examples');
const GOLDEN = path.join(ROOT, 'test/golden');
const UPDATE = 'NARWHAL_UPDATE_GOLDEN';

interface Case {
  readonly title: string;
  readonly file: string;
  readonly cache: Cache;
  readonly inputs?: Partial<Inputs> | undefined;
}

const cases: Case[] = [
  ...readdirSync(EXAMPLES).flatMap((file) =>
    cachesOf(readFileSync(path.join(EXAMPLES, file), 'utf8')).map((cache) => ({
      title: `examples/${file}`,
      file: `example-${file}`,
      cache,
    })),
  ),
  ...CACHES.map(({ title, name, spec, inputs }) => ({
    title,
    file: `${name}.yaml`,
    cache: cacheOf(spec, { name }),
    inputs,
  })),
];

/** The text of a file; nothing where there is none. */
function read(file: string): string {
  try {
    return readFileSync(path.join(GOLDEN, file), 'utf8');
  } catch {
    return '';
  }
}

function objectsText({ cache, inputs }: Case): string {
  const tokenHashes = new Map((cache.spec.tokens ?? []).map(({ name }) => [name, hashToken(name)]));
  return desired(cache, inputsOf({ tokenHashes, ...inputs }))
    .map((object) => `---\n${stringify(object, { lineWidth: 0, aliasDuplicateObjects: false, blockQuote: 'literal' })}`)
    .join('');
}

function templateIn(text: string): unknown {
  const objects = parseAllDocuments(text).map((document) => document.toJS());
  return objects.find(({ kind }) => kind === 'StatefulSet')?.spec.template;
}

function explanation(file: string, before: string, now: string): string {
  const restarts =
    before !== '' && !isDeepStrictEqual(templateIn(before), templateIn(now))
      ? ' THE POD TEMPLATE IS ANOTHER: with this change an upgrade of the operator restarts every pod of such caches. Is it worth that?'
      : '';
  return `the objects are not those of test/golden/${file}, from ${firstDifference(before, now)}.${restarts} If they are to be so, write the file anew with ${UPDATE}=1 and read the whole difference.`;
}

function firstDifference(before: string, now: string): string {
  const old = before.split('\n');
  const lines = now.split('\n');
  let at = 0;
  while (lines[at] === old[at] && at < lines.length) at++;
  return `line ${at + 1} on: ${JSON.stringify(lines[at])} instead of ${JSON.stringify(old[at])}`;
}

describe('the objects of a cache', () => {
  for (const it_ of cases) {
    const { title, file } = it_;
    it(`are as they were: ${title}`, () => {
      const now = objectsText(it_);
      if (process.env[UPDATE]) {
        mkdirSync(GOLDEN, { recursive: true });
        writeFileSync(path.join(GOLDEN, file), now);
      }
      const before = read(file);
      assert.ok(now === before, explanation(file, before, now));
    });
  }

  it('have no golden file that no case has', () => {
    assert.deepEqual(readdirSync(GOLDEN).sort(), cases.map(({ file }) => file).sort());
  });

  it('tell of restarts when the pod template changes, and of nothing else when only others do', () => {
    const [one] = cases;
    assert.ok(one);
    const before = objectsText(one);
    const otherImage = objectsText({ ...one, inputs: { image: 'narwhal:2.0.0' } });
    const otherNamespace = objectsText({ ...one, inputs: { operatorNamespace: 'elsewhere' } });
    assert.match(explanation('a.yaml', before, otherImage), /restarts every pod/);
    assert.doesNotMatch(explanation('a.yaml', before, otherNamespace), /restarts every pod/);
    assert.notEqual(before, otherNamespace);
  });
});
