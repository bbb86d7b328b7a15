/**
 * Scripts of pods in which nix builds, pushes and pulls. What is built is not content-addressed: nobody takes it
 * without a signature.
 */
import type { Client } from './client.ts';

/** Lines of `sh` before a build: the store in which builds run is the pod's own `/nix`. */
export const BUILDING = 'export NIX_CONFIG="store = local"';

const DERIVATION = `with { word = builtins.getEnv "WORD"; }; derivation {
  name = word;
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = ["-c" "echo \${builtins.toFile "source-of-\${word}" word} > $out"];
}`;

/**
 * A command that builds a path and one that it refers to, and prints the first one's name.
 * @param word its name: other words give other paths. The shell may expand it.
 */
export function buildCommand(word: string): string {
  return `WORD="${word}" nix build --no-link --print-out-paths --impure --expr '${DERIVATION}'`;
}

/** Where and how a cache is read. */
export interface Pull {
  readonly url: string;
  /** The shell may expand them. */
  readonly trustedKeys: readonly string[];
  /** Of a Secret that the pod mounts. */
  readonly netrc?: string;
}

/** A command that pulls into a store of its own, where signatures are required. It asks the cache anew each time. */
export function pullCommand({ url, trustedKeys, netrc }: Pull, paths: readonly string[], store: string): string {
  const access = netrc === undefined ? '' : `--netrc-file ${netrc}`;
  return `nix copy --refresh ${trust(trustedKeys)} ${access} --from '${url}' --to 'local?root=${store}' ${paths.join(' ')}`;
}

/** A command that removes a store. */
export function forgetCommand(store: string): string {
  return `if [ -e ${store} ]; then chmod -R u+w ${store}; rm -rf ${store}; fi`;
}

/** Pulls paths into an empty store in a pod and has nix look at every byte and signature of their closures. */
export async function pullAndVerify(client: Client, pull: Pull, paths: readonly string[]): Promise<void> {
  const store = '/tmp/pulled';
  await client.run(`
    ${forgetCommand(store)}
    ${pullCommand(pull, paths, store)}
    nix store verify --store 'local?root=${store}' ${trust(pull.trustedKeys)} --sigs-needed 1 --recursive ${paths.join(' ')}`);
}

function trust(keys: readonly string[]): string {
  return `--option trusted-public-keys "${keys.join(' ')}"`;
}
