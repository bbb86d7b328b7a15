/** The project's Nix files for tests: the flake without what git would leave out, and a stand-in for nixpkgs. */
import { cp, mkdtemp, readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NixClient, NixResult } from './nix.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const STUB = path.join(ROOT, 'test/support/nixpkgs-stub');
const NIX_FOLDER = path.join(ROOT, 'hack/nix');

/** What the Nix files read. Nix copies a flake that is no git repository whole, and the packages are 300 MB. */
const READ = [
  'LICENSE',
  'crds',
  'default.nix',
  'examples',
  'flake.nix',
  'hack/build.mjs',
  'hack/image',
  'hack/lib',
  'hack/nix',
  'operator',
  'package-lock.json',
  'package.json',
  'server',
  'shell.nix',
  'tsconfig.json',
];

/** A copy of the flake, in a folder of its own below `parent`. */
export async function copyFlake(parent: string): Promise<string> {
  const folder = await mkdtemp(path.join(parent, 'flake-'));
  for (const name of READ) await cp(path.join(ROOT, name), path.join(folder, name), { recursive: true });
  return folder;
}

/** Every Nix file of the project. */
export async function nixFiles(): Promise<string[]> {
  const inside = async (folder: string) =>
    (await readdir(folder)).filter((name) => name.endsWith('.nix')).map((name) => path.join(folder, name));
  return [ROOT, NIX_FOLDER, STUB].reduce<Promise<string[]>>(
    async (all, folder) => [...(await all), ...(await inside(folder))],
    Promise.resolve([]),
  );
}

/** `nix flake show`, `nix eval` and the like, with the stand-in for nixpkgs, without a network or a written lockfile. */
export function runFlake(client: NixClient, flake: string, words: readonly string[]): Promise<NixResult> {
  const [command = '', ...more] = words;
  const subcommand = command === 'flake' ? [command, more.shift() ?? ''] : [command];
  const target = command === 'flake' ? `path:${flake}` : `path:${flake}#${more.shift()}`;
  const stub = ['--offline', '--no-write-lock-file', '--override-input', 'nixpkgs', `path:${STUB}`];
  return client.run(['nix', ...subcommand, ...stub, target, ...more]);
}

/** The same, for a command that must succeed and prints JSON. */
export async function flakeJson(client: NixClient, flake: string, words: readonly string[]): Promise<unknown> {
  const { code, stdout, stderr } = await runFlake(client, flake, [...words, '--json']);
  if (code !== 0) throw new Error(`nix ${words.join(' ')} ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout);
}

/** What the module makes of settings of services.narwhal, written in Nix: the value of an expression in which it is `machine`. */
export function evaluateModule(client: NixClient, settings: string, wanted: string): Promise<unknown> {
  return client.evaluate(`
    let
      pkgs = import ${STUB} { system = "x86_64-linux"; };
      machine = import ${STUB}/nixos.nix {
        inherit pkgs;
        inherit (pkgs) lib;
        machine = {
          imports = [ ${NIX_FOLDER}/module.nix ];
          services.narwhal = ${settings};
        };
      };
    in
    ${wanted}`);
}
