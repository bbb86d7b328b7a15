// node_modules of the image: the production tree, installed anew by npm, with the compiled half of sqlite3.
import fs from 'node:fs';
import path from 'node:path';
import { node24, root } from '../lib/places.mjs';
import { run } from '../lib/run.mjs';
import { digestOf, digestOfSources, imageFolder } from './kept.mjs';
import { pruneModules } from './prune.mjs';

const ADDON = 'node_modules/sqlite3/build/Release/node_sqlite3.node';

/** A folder with package-lock.json and the pruned node_modules, made if need be (20 s). @returns {Promise<string>} */
export function ensureModules({ say }) {
  const addon = path.join(root, ADDON);
  const inputs = {
    sources: digestOfSources(['package-lock.json', 'hack/image/prune.mjs', 'hack/image/tree.mjs']),
    addon: digestOf(fs.readFileSync(addon)),
  };
  return imageFolder('modules', inputs, async (draft) => {
    say('installing the production packages (npm ci)');
    for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
      if (fs.existsSync(path.join(root, name))) fs.copyFileSync(path.join(root, name), path.join(draft, name));
    }
    const args = ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    await run('npm ci', 'npm', args, { cwd: draft });
    pruneModules(draft);
    fs.mkdirSync(path.dirname(path.join(draft, ADDON)), { recursive: true });
    fs.copyFileSync(addon, path.join(draft, ADDON));
    // Before the folder is kept for good: is everything there that is loaded first?
    const script = "require('sqlite3'); require('knex'); require('pino'); import('@kubernetes/client-node')";
    await run('loading the packages', node24, ['-e', script], { cwd: draft });
  });
}
