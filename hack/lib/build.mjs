// The built programs, see hack/build.mjs. That is run by the Node of the clone, whatever runs this.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { node24, root } from './places.mjs';

/** Brings dist/ up to date with the sources (a tenth of a second when nothing has changed). The file of the server to run. */
export function buildServer() {
  runBuild();
  return path.join(root, 'dist/server/main.js');
}

/** Writes the programs into a folder that has nothing else. @param {string} folder */
export function buildInto(folder) {
  runBuild(folder);
}

function runBuild(...args) {
  execFileSync(node24, [path.join(root, 'hack/build.mjs'), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
}
