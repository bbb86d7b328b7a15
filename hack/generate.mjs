// Writes what is derived from the schemas in crds/: the CRDs and the reference page. With --check it writes nothing
// and fails where a file is out of date.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { stringify } from 'yaml';
import { toCrd } from '../crds/crd.ts';
import { kinds } from '../crds/kinds.ts';
import { toReference } from '../crds/reference.ts';

const root = dirname(import.meta.dirname);
const header = '# Made by hack/generate.mjs from the schemas in crds/. Change those and run: node hack/generate.mjs\n';
// No folded lines and no anchors: a diff then shows the one field that changed. kubectl reads YAML 1.1.
const layout = { lineWidth: 0, aliasDuplicateObjects: false, compat: 'yaml-1.1' };

const files = [
  ...kinds.map((kind) => ({
    path: join(root, 'crds', 'generated', `${kind.plural}.yaml`),
    text: header + stringify(toCrd(kind), layout),
  })),
  { path: join(root, 'docs', 'configuration.md'), text: toReference(kinds) },
];

const stale = files.filter(({ path, text }) => read(path) !== text);
if (process.argv.includes('--check')) {
  for (const { path } of stale) console.error(`${relative(root, path)} is out of date: run node hack/generate.mjs`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const { path, text } of stale) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    console.log(`wrote ${relative(root, path)}`);
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}
