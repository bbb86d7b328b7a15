/** Paths that nix builds in a pod: nobody trusts them without a signature, since their names say nothing of their content. */
import type { Client } from './client.ts';

/** Lines of `sh`, for scripts of pods. The store in which builds run is the pod's own `/nix`. */
export const BUILDING = 'export NIX_CONFIG="store = local"';

/**
 * A command that builds a path and one that it refers to, and prints the first one's name.
 * @param word in its name and content: other words give other paths
 */
export function buildCommand(word: string): string {
  const source = `builtins.toFile "source-${word}" "of ${word}\\n"`;
  const script = `echo \${${source}} ${word} > $out`;
  const fields = `name = "${word}"; system = builtins.currentSystem; builder = "/bin/sh"; args = ["-c" ''${script}''];`;
  return `nix build --no-link --print-out-paths --impure --expr '${`derivation { ${fields} }`.replaceAll("'", `'"'"'`)}'`;
}

/** How a cache is asked for paths: as `nix.conf` names it, or as the options of one command. */
export interface Pull {
  readonly url: string;
  readonly trustedKeys: readonly string[];
  /** Of a Secret that the pod mounts. */
  readonly netrc?: string;
}

/** A command that pulls into a store of its own, where signatures are required. It asks the cache anew each time. */
export function pullCommand({ url, trustedKeys, netrc }: Pull, paths: readonly string[], store: string): string {
  const keys = `--option trusted-public-keys "${trustedKeys.join(' ')}"`;
  const access = netrc === undefined ? '' : `--netrc-file ${netrc}`;
  return `nix copy --refresh ${keys} ${access} --from '${url}' --to 'local?root=${store}' ${paths.join(' ')}`;
}

/** Pulls paths into an empty store in a pod and has nix look at every byte and signature of their closures. */
export async function pullAndVerify(client: Client, pull: Pull, paths: readonly string[]): Promise<void> {
  const store = '/tmp/pulled';
  const keys = `--option trusted-public-keys '${pull.trustedKeys.join(' ')}'`;
  await client.run(`
    chmod -R u+w ${store} 2>/dev/null || true
    rm -rf ${store}
    ${pullCommand(pull, paths, store)}
    nix store verify --store 'local?root=${store}' ${keys} --sigs-needed 1 --recursive ${paths.join(' ')}`);
}
