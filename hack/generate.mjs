// Writes what is derived from the schemas in crds/, from the description of the API and from the chart's values: CRDs, pages
// of reference, schema and table of the values, dashboard. With --check it writes nothing and fails where a file is out of date.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { toCrd } from '../crds/crd.ts';
import { kinds } from '../crds/kinds.ts';
import { toReference } from '../crds/reference.ts';
import { toDashboard } from './chart/dashboard.mjs';
import { withTable } from './chart/readme.mjs';
import { toSchema } from './chart/schema.mjs';
import { readValues } from './chart/values.mjs';
import { toApiPage } from './lib/api-page.mjs';

const root = dirname(import.meta.dirname);
const header = '# Made by hack/generate.mjs from the schemas in crds/. Change those and run: node hack/generate.mjs\n';
// No folded lines and no anchors: a diff then shows the one field that changed. kubectl reads YAML 1.1.
const layout = { lineWidth: 0, aliasDuplicateObjects: false, compat: 'yaml-1.1' };
const chart = 'charts/narwhal';

const crds = kinds.map((kind) => [`${kind.plural}.yaml`, header + stringify(toCrd(kind), layout)]);
const values = readValues(read(`${chart}/values.yaml`));

const files = Object.entries({
  ...inFolder('crds/generated', crds),
  'docs/configuration.md': toReference(kinds),
  'docs/api.md': toApiPage(parse(read('server/http/openapi.yaml'))),
  // Helm packs only what lies in the folder of the chart.
  ...inFolder(`${chart}/files/crds`, crds),
  [`${chart}/files/dashboard.json`]: json(toDashboard()),
  [`${chart}/values.schema.json`]: json(toSchema(values)),
  [`${chart}/README.md`]: withTable(read(`${chart}/README.md`), values),
});

const stale = files.filter(([path, text]) => read(path) !== text);
if (process.argv.includes('--check')) {
  for (const [path] of stale) console.error(`${path} is out of date: run node hack/generate.mjs`);
  process.exitCode = stale.length > 0 ? 1 : 0;
} else {
  for (const [path, text] of stale) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
    console.log(`wrote ${path}`);
  }
}

function inFolder(folder, named) {
  return Object.fromEntries(named.map(([name, text]) => [`${folder}/${name}`, text]));
}

function json(value) {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function read(path) {
  try {
    return readFileSync(join(root, path), 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}
