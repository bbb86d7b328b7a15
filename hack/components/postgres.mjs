// A PostgreSQL server for tests: the machine's own when it is complete, else Debian's package, unpacked.
import fs from 'node:fs';
import path from 'node:path';
import { attempt, run } from '../lib/run.mjs';
import { C_LIBRARY, libraryFolder, ownSuite, unpackDebian } from './debian.mjs';
import { keep } from './kept.mjs';

/** Raise it when unpackedPostgres makes something else out of the same packages. */
const RECIPE = 1;
const OLDEST = 13;

/** Nine tenths of the bytes: what the server does not read. Its compiler of queries it does without when it is absent. */
const NOT_READ = /^(libLLVM.*|libz3.*|llvmjit.*|bitcode|libperl.*)$/;
const READ_IN = { usr: ['lib', 'share'], 'usr/share': ['postgresql'] };

/**
 * @typedef {object} Postgres
 * @property {string} version as in 15.18
 * @property {string} bin the folder of postgres and initdb
 * @property {string} [root] the folder that holds all of it, which runs elsewhere as well when copied; the machine's
 *   own has none
 * @property {(root: string) => Record<string, string>} env what its programs need in their environment, of the root
 *   or of a copy
 */

/** A server and the initdb that belongs to it, fetched if need be. @returns {Promise<Postgres>} */
export async function ensurePostgres() {
  return (await ownPostgres()) ?? (await unpackedPostgres());
}

/**
 * The machine's own: on PATH, or where Debian keeps servers, the newest first.
 * @returns {Promise<Postgres | undefined>}
 */
async function ownPostgres() {
  const debian = '/usr/lib/postgresql';
  const versions = fs.existsSync(debian) ? fs.readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  const places = [
    ...(process.env.PATH ?? '').split(path.delimiter).filter(Boolean),
    ...versions.map((version) => path.join(debian, version, 'bin')),
  ];
  for (const place of places) {
    const initdb = path.join(place, 'initdb');
    if (!fs.existsSync(initdb)) continue;
    const bin = path.dirname(fs.realpathSync(initdb));
    const version = await versionIn(bin, {});
    if (version && Number.parseInt(version, 10) >= OLDEST) return { version, bin, env: () => ({}) };
  }
  return undefined;
}

/** Debian's of the machine's own suite, whatever the machine itself has. @returns {Promise<Postgres>} */
export async function unpackedPostgres() {
  const suite = ownSuite() ?? 'stable';
  const folder = await keep(`postgres-${suite}`, RECIPE, async (draft) => {
    // `postgresql` is an empty package that depends on the suite's version.
    await unpackDebian({ suite, packages: ['postgresql'], folder: draft });
    for (const [place, names] of Object.entries(READ_IN)) {
      removeNamed(path.join(draft, place), (name) => !names.includes(name), { deep: false });
    }
    removeNamed(path.join(draft, 'usr/lib'), (name) => NOT_READ.test(name) || C_LIBRARY.test(name));
    // Before the folder is kept for good: does it run here?
    const bin = binIn(draft);
    await run('postgres --version', path.join(bin, 'postgres'), ['--version'], {
      env: { ...process.env, ...libraryPath(draft) },
    });
  });
  const bin = binIn(folder);
  const version = await versionIn(bin, libraryPath(folder));
  if (!version) throw new Error(`${folder} holds no server that runs here; remove the folder and start again`);
  return { version, bin, root: folder, env: libraryPath };
}

function binIn(folder) {
  const versions = path.join(folder, 'usr/lib/postgresql');
  return path.join(versions, fs.readdirSync(versions)[0], 'bin');
}

/**
 * Not the loader of the package, as debianCommand() has it: initdb starts postgres by itself and knows nothing of
 * loaders. The suite is the machine's own, so that its C library fits; the rest comes along by this variable.
 */
function libraryPath(folder) {
  return { LD_LIBRARY_PATH: libraryFolder(folder) };
}

function removeNamed(folder, matches, { deep = true } = {}) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (matches(entry.name)) fs.rmSync(name, { recursive: true });
    else if (deep && entry.isDirectory()) removeNamed(name, matches);
  }
}

/** The version of the server in `bin`, when it and initdb run and are of one version. */
async function versionIn(bin, env) {
  const versions = [];
  for (const program of ['postgres', 'initdb']) {
    const result = await attempt(path.join(bin, program), ['--version'], { env: { ...process.env, ...env } });
    versions.push(/\(PostgreSQL\) (\d+(\.\d+)?)/.exec(result.stdout)?.[1]);
  }
  return versions[0] === versions[1] ? versions[0] : undefined;
}
