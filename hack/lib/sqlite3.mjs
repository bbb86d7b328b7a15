// The native half of the package sqlite3: taken from the cache, or downloaded and compared with a hash that we know, or
// compiled once and kept.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir, node24, root } from './places.mjs';
import { attempt, run, shortened } from './run.mjs';

const folder = path.join(root, 'node_modules/sqlite3');
const built = path.join(folder, 'build/Release/node_sqlite3.node');
/** More than the download gives itself. */
const DOWNLOAD_LIMIT_MS = 30_000;

/** Puts a native addon that Node 24 can load where sqlite3 looks for it. */
export async function installSqlite3({ say }) {
  if (await loads()) return;
  const kept = path.join(cacheDir(), await cacheKey(), 'node_sqlite3.node');
  if (fs.existsSync(kept)) {
    copyInto(kept, built);
    if (await loads()) return;
  }
  if (!(await download({ say })) || !(await loads())) {
    say('compiling sqlite3 (about two minutes, once)');
    await compile();
    const problem = await loadProblem();
    if (problem) throw new Error(`sqlite3 compiled, but Node 24 cannot load it:\n${problem}`);
  }
  copyInto(built, kept);
  keepOnlyTheAddon();
}

/** Whether the addon file is there; a cheap check for every start. */
export function hasSqlite3() {
  return fs.existsSync(built);
}

async function cacheKey() {
  const { version } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const napi = (await run('asking Node for its Node-API version', node24, ['-p', 'process.versions.napi'])).trim();
  return `sqlite3-${version}-napi${napi}-${process.platform}-${process.arch}-${libc()}`;
}

function libc() {
  if (process.platform !== 'linux') return 'system';
  return fs.readdirSync('/lib').some((name) => name.startsWith('ld-musl-')) ? 'musl' : 'glibc';
}

async function loads() {
  return fs.existsSync(built) && (await loadProblem()) === undefined;
}

async function loadProblem() {
  const script = "new (require('sqlite3').Database)(':memory:', (error) => { if (error) throw error; })";
  const result = await attempt(node24, ['-e', script], { cwd: root, timeoutMs: 30_000 });
  return result.ok ? undefined : result.output.trim() || result.reason;
}

async function download({ say }) {
  const tool = path.join(root, 'hack/lib/prebuilt-sqlite3.mjs');
  // Node asks no proxy unless it is told to.
  const env = { ...process.env, NODE_USE_ENV_PROXY: '1' };
  const result = await attempt(node24, [tool, folder], { cwd: root, env, timeoutMs: DOWNLOAD_LIMIT_MS });
  if (!result.ok) say(result.output.trim() || `no prebuilt sqlite3: ${result.reason}`);
  return result.ok && fs.existsSync(built);
}

async function compile() {
  const tool = path.join(root, 'node_modules/node-gyp/bin/node-gyp.js');
  const args = [tool, 'rebuild', '--release', '--jobs', '2', '--nodedir', headersFolder()];
  const result = await attempt(node24, args, { cwd: folder, env: compileEnvironment() });
  if (result.ok && fs.existsSync(built)) return;
  throw new Error(
    `Compiling sqlite3 failed (${result.reason}):\n${shortened(result.output)}\n\nIt needs python3, make and a C++ compiler. ` +
      'Debian, Ubuntu: apt-get install python3 make g++; Fedora: dnf install python3 make gcc-c++; ' +
      'Alpine: apk add python3 make g++; macOS: xcode-select --install. Then run the same command again.',
  );
}

/** The platform package of npm's `node` brings the headers of exactly the Node that will load the addon. */
function headersFolder() {
  const arch = `${process.platform}-${process.arch}`;
  const parents = ['node_modules/node/node_modules', 'node_modules'];
  const candidates = parents.flatMap((parent) => [`${parent}/node-${arch}`, `${parent}/node-bin-${arch}`]);
  const found = candidates
    .map((name) => path.join(root, name))
    .find((name) => fs.existsSync(`${name}/include/node/node_api.h`));
  if (!found) {
    throw new Error(
      `The headers of Node 24 are missing: none of ${candidates.join(', ')} has include/node. Remove node_modules and start again.`,
    );
  }
  return found;
}

/** node-gyp prefers npm's settings in the environment to its own arguments, and a user may have set `nodedir` there. */
function compileEnvironment() {
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (!/^npm_(config|package_config)_/i.test(name)) env[name] = value;
  }
  return env;
}

/** The objects of a compilation are 40 MB that nobody needs again. */
function keepOnlyTheAddon() {
  const build = path.join(folder, 'build');
  for (const name of fs.readdirSync(build)) {
    if (name !== 'Release') fs.rmSync(path.join(build, name), { recursive: true, force: true });
  }
  for (const name of fs.readdirSync(path.dirname(built))) {
    if (name !== path.basename(built))
      fs.rmSync(path.join(path.dirname(built), name), { recursive: true, force: true });
  }
}

/** Copies in one step for any reader: a file beside the target first, then a rename. */
function copyInto(from, to) {
  fs.mkdirSync(path.dirname(to), { recursive: true });
  const draft = `${to}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    fs.copyFileSync(from, draft);
    fs.renameSync(draft, to);
  } finally {
    fs.rmSync(draft, { force: true });
  }
}
