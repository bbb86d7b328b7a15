// `node hack/image/prune.mjs FOLDER`: takes out of FOLDER/node_modules what nothing reads at run time: two thirds.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { productionTree } from './tree.mjs';

/** Licences stay, whatever they are called. */
const KEPT = /^(licen[cs]e|copying|notice|authors)/i;

/** Files that go, by their path in a package; `of`: in this package alone. Folders are named at the top only. */
const NEVER_READ = [
  { path: /\.(md|markdown)$/i },
  // Node strips no types below node_modules.
  { path: /\.(ts|mts|cts|flow|tsbuildinfo)$/ },
  { path: /\.map$/ },
  { path: /^(test|tests|__tests__|example|examples|bench|benchmark|benchmarks|coverage)\// },
  // Settings of editors and of linters.
  { path: /^\.[^/]+/ },
  { path: /\.(c|cc|cpp|h|gyp|gypi|py|coffee)$/ },
  { of: 'sqlite3', path: /^(src|deps)\// },
  // Native code, for three platforms; its WebAssembly is what is used.
  { of: 'node-liblzma', path: /^(prebuilds|scripts|src)\// },
];

/**
 * Prunes `folder`/node_modules, which npm installed from `folder`/package-lock.json.
 * @param {string} folder
 */
export function pruneModules(folder) {
  const modules = path.join(folder, 'node_modules');
  const tree = productionTree(JSON.parse(fs.readFileSync(path.join(folder, 'package-lock.json'), 'utf8')));
  const places = new Map(tree.map(({ place, name }) => [path.join(folder, place), name]));
  const visit = (file, packageFolder) => {
    const stat = fs.lstatSync(file);
    if (stat.isDirectory()) {
      const own = places.has(file) ? file : packageFolder;
      for (const child of fs.readdirSync(file)) visit(path.join(file, child), own);
      if (fs.readdirSync(file).length === 0) fs.rmdirSync(file);
    } else if (packageFolder === undefined || isNeverRead(places.get(packageFolder), packageFolder, file)) {
      fs.rmSync(file);
    }
  };
  // A package that is not in the tree may lie inside of one that is.
  const removeOthers = (inside) => {
    if (!fs.existsSync(inside)) return;
    for (const name of fs.readdirSync(inside)) {
      const place = path.join(inside, name);
      if (name.startsWith('@')) removeOthers(place);
      else if (!places.has(place)) fs.rmSync(place, { recursive: true });
      else removeOthers(path.join(place, 'node_modules'));
    }
  };
  removeOthers(modules);
  visit(modules, undefined);
}

function isNeverRead(name, packageFolder, file) {
  if (KEPT.test(path.basename(file))) return false;
  const relative = path.relative(packageFolder, file).split(path.sep).join('/');
  return NEVER_READ.some((rule) => (rule.of ?? name) === name && rule.path.test(relative));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) pruneModules(path.resolve(process.argv[2] ?? '.'));
