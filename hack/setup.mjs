// Makes a fresh clone runnable, and a set-up one stays as it is: packages, Node 24, the native half of sqlite3.
// Plain JavaScript without packages, because it runs on whatever Node the machine has (16 or newer).
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { withLock } from './lib/lock.mjs';
import { cacheDir, node24, root } from './lib/places.mjs';
import { attempt, run, shortened } from './lib/run.mjs';
import { hasSqlite3, installSqlite3 } from './lib/sqlite3.mjs';

const modules = path.join(root, 'node_modules');
const stamp = path.join(modules, '.narwhal-setup');
const NPM = process.platform === 'win32' ? 'npm.cmd' : 'npm';

/** Installs what is missing. Cheap when nothing is. Any number of processes may call it at once. */
export async function setUp({ say = announce } = {}) {
  if (isDone()) return;
  fs.mkdirSync(cacheDir(), { recursive: true });
  await withLock(
    `set-up of ${root}`,
    async () => {
      // Another process may have done it while this one waited.
      if (isDone()) return;
      await installPackages({ say });
      await installNode24({ say });
      await installSqlite3({ say });
      fs.writeFileSync(stamp, lockfileHash());
    },
    { say },
  );
}

function announce(line) {
  console.error(`set-up: ${line}`);
}

function isDone() {
  return readOrNothing(stamp) === lockfileHash() && fs.existsSync(node24) && hasSqlite3();
}

function lockfileHash() {
  return createHash('sha256')
    .update(fs.readFileSync(path.join(root, 'package-lock.json')))
    .digest('hex');
}

function readOrNothing(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

async function installPackages({ say }) {
  if (packagesMatchLockfile()) return;
  say('installing packages (npm ci)');
  // Without scripts: sqlite3's would start before the headers that it needs are there.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm ci', NPM, args, { cwd: root });
}

/** npm leaves a copy of what it installed; after a developer's own `npm install` nothing needs to be done again. */
function packagesMatchLockfile() {
  const installed = readOrNothing(path.join(modules, '.package-lock.json'));
  if (installed === undefined) return false;
  const wanted = JSON.parse(fs.readFileSync(path.join(root, 'package-lock.json'), 'utf8')).packages;
  const present = JSON.parse(installed).packages;
  return Object.entries(wanted).every(([name, { version, optional }]) => {
    if (name === '') return true;
    if (present[name] === undefined) return optional === true;
    return present[name].version === version && fs.existsSync(path.join(root, name));
  });
}

/** The npm package `node` fetches its platform's package in its install script, which npm's policies may have skipped. */
async function installNode24({ say }) {
  const wanted = JSON.parse(fs.readFileSync(path.join(modules, 'node/package.json'), 'utf8')).version;
  const isThere = async () => (await attempt(node24, ['--version'])).stdout.trim() === `v${wanted}`;
  if ((await isThere()) && fs.existsSync(path.join(modules, '.bin/node'))) return;
  say(`installing Node ${wanted} (npm package "node", in this clone only)`);
  const result = await attempt(NPM, ['rebuild', 'node', '--foreground-scripts', '--ignore-scripts=false'], {
    cwd: root,
  });
  if (await isThere()) return;
  throw new Error(
    `Node ${wanted} could not be installed by "npm rebuild node" (${result.reason}):\n${shortened(result.output)}\n` +
      'It needs the npm registry that this machine is set up for, and a platform that Node publishes binaries for.',
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await setUp();
    const { stdout } = await attempt(node24, ['--version']);
    console.log(`ready: Node ${stdout.trim()}, cache in ${cacheDir()}`);
  } catch (error) {
    console.error(`set-up failed: ${error.message}`);
    process.exitCode = 1;
  }
}
