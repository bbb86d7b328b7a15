// The nix clients that the tests speak with: three of Debian, old to new, and the machine's own where it differs.
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir } from '../lib/places.mjs';
import { attempt, run } from '../lib/run.mjs';
import { debianCommand, unpackDebian } from './debian.mjs';
import { keep } from './kept.mjs';

/** Raise it when unpackDebian makes something else out of the same packages. */
const RECIPE = 1;

const SUITES = [
  { label: '2.8', suite: 'bookworm' },
  { label: '2.26', suite: 'trixie' },
  // sid moves on: the label says when this was written, `version` says what came.
  { label: '2.34', suite: 'sid' },
];

/**
 * @typedef {object} Nix
 * @property {string} label what tests call it: 2.8, 2.26, 2.34 or own
 * @property {string} version what `nix --version` says
 * @property {string} shell a static shell, for builders
 * @property {(program: string) => string[]} command the words that run nix, nix-store, nix-instantiate ...
 */

/** All nix versions, fetched if need be. @returns {Promise<Nix[]>} */
export async function ensureNix() {
  const found = [];
  for (const { label, suite } of SUITES) {
    const folder = await keep(`nix-${suite}`, RECIPE, (draft) => fetchNix(suite, draft));
    const command = (program) => debianCommand(folder, program);
    found.push({
      label,
      version: await versionOf(command('nix')),
      shell: path.join(folder, 'usr/bin/bash-static'),
      command,
    });
  }
  const own = await ownNix(found);
  return own ? [...found, own] : found;
}

async function fetchNix(suite, draft) {
  await unpackDebian({ suite, packages: ['nix-bin', 'bash-static'], folder: draft });
  // Before the folder is kept for good: does it run here?
  await versionOf(debianCommand(draft, 'nix'));
}

async function versionOf(command) {
  const [program, ...args] = command;
  const text = await run('nix --version', program, [...args, '--version']);
  return text.trim().split(' ').pop();
}

/** The nix on PATH, unless it is one of ours or of a version that we have. */
async function ownNix(found) {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, 'nix');
    if (folder === '' || !fs.existsSync(file) || fs.realpathSync(file).startsWith(cacheDir())) continue;
    const result = await attempt(file, ['--version']);
    const version = result.stdout.trim().split(' ').pop();
    if (!result.ok || found.some((nix) => nix.version === version)) return undefined;
    return { label: 'own', version, shell: found[0].shell, command: (program) => [path.join(folder, program)] };
  }
  return undefined;
}
