// Small programs that tests and the bench start: the machine's own when it is on PATH, else from a Debian package.
import fs from 'node:fs';
import path from 'node:path';
import { debianCommand, ownSuite, unpackDebian } from './debian.mjs';
import { keep } from './kept.mjs';

const RECIPE = 1;

/** Program to Debian package. */
const PACKAGES = {
  wrk: 'wrk',
  nginx: 'nginx',
  zstd: 'zstd',
  xz: 'xz-utils',
  bzip2: 'bzip2',
  lz4: 'lz4',
  openssl: 'openssl',
  etcd: 'etcd-server',
};

export const PROGRAMS = Object.keys(PACKAGES);

/** The words that start `program`, fetched if need be. @returns {Promise<string[]>} */
export async function ensureProgram(program) {
  const own = onPath(program);
  if (own) return [own];
  const packageName = PACKAGES[program];
  const suite = ownSuite() ?? 'stable';
  const folder = await keep(`${program}-${suite}`, RECIPE, async (draft) => {
    await unpackDebian({ suite, packages: [packageName], folder: draft });
    debianCommand(draft, program);
  });
  return debianCommand(folder, program);
}

function onPath(program) {
  const places = [...(process.env.PATH ?? '').split(path.delimiter).filter(Boolean), '/usr/sbin', '/sbin'];
  return places.map((place) => path.join(place, program)).find((file) => isExecutable(file));
}

function isExecutable(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
