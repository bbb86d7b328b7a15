/** What a Job builds and pushes with nix: small paths that refer to each other, and large ones that no compression shrinks. */
import assert from 'node:assert/strict';
import { formatHash, parseHash } from '../../../server/nix/index.ts';
import { runJob } from './client.ts';
import type { KnownPath } from './poller-main.ts';
import type { World } from './world.ts';

/** Nothing that a Job has in its own store needs to outlive a power cut: a third of the time. */
export const QUICK = "export NIX_CONFIG='fsync-metadata = false'";

/** Prints what nix knows of `$paths`. */
const TELL = `
    nix path-info --json --json-format 1 $paths > /tmp/info.json
    node -p 'JSON.stringify(Object.entries(JSON.parse(fs.readFileSync("/tmp/info.json", "utf8"))).map(
      ([storePath, { narHash }]) => ({ storePath, narHash })))'`;

export interface ClosureInit {
  /** Where `nix copy` sends it. */
  readonly to: string;
  /** The Secret of the token, which has its netrc. */
  readonly secret: string;
  /** Other words give other paths. */
  readonly seed: string;
  /** Small paths, of up to 30 kB, each with references to some before. */
  readonly texts?: number;
  /** Sizes of large ones. */
  readonly bigBytes?: readonly number[];
}

/** Builds paths in a Job and copies them to a cache; returns them as nix knows them there. */
export async function pushClosure(world: World, job: string, init: ClosureInit): Promise<KnownPath[]> {
  const { to, secret, seed, texts = 80, bigBytes = [] } = init;
  const script = `${QUICK}
    cat > /tmp/texts.nix << 'NIX'
    let
      words = i: builtins.concatStringsSep "\\n" (builtins.genList
        (j: builtins.hashString "sha512" "${seed} \${toString i} \${toString j}") (1 + i * 37 - (i * 37) / 230 * 230));
      all = builtins.foldl' (before: i: before ++ [ (builtins.toFile "text-\${toString i}" (
        builtins.concatStringsSep "\\n" (map (k: builtins.elemAt before (i - k)) (builtins.filter (k: k <= i) [ 1 3 7 ]))
        + "\\n" + words i)) ]) [ ] (builtins.genList (i: i) ${texts});
    in all
NIX
    nix eval --json --file /tmp/texts.nix > /tmp/texts.json
    paths=$(node -p 'JSON.parse(fs.readFileSync("/tmp/texts.json", "utf8")).join(" ")')
    for bytes in ${bigBytes.join(' ')}; do
      head -c "$bytes" /dev/urandom > "/tmp/big-$bytes"
      paths="$paths $(nix store add-file "/tmp/big-$bytes")"
    done
    nix copy --netrc-file /secrets/${secret}/netrc --to "${to}?compression=zstd" $paths
    ${TELL}`;
  const log = await runJob(world, job, script, { secrets: [secret] });
  return parsed(log);
}

const parsed = (log: string) => asInNarinfos(JSON.parse(log.trimEnd().split('\n').at(-1) ?? '') as KnownPath[]);

/** nix prints hashes otherwise than narinfos have them. */
export function asInNarinfos(paths: readonly KnownPath[]): KnownPath[] {
  return paths.map(({ storePath, narHash }) => ({ storePath, narHash: formatHash(parseHash(narHash)) }));
}

const sorted = (paths: readonly KnownPath[]) => [...paths].sort((a, b) => (a.storePath < b.storePath ? -1 : 1));

/**
 * Pulls paths in a Job into an empty store, as a client that believes one key alone; each has to arrive with the hash
 * with which it was pushed.
 *
 * @param from the cache
 * @param key its public key
 */
export async function pullClosure(
  world: World,
  job: string,
  { from, key, paths }: { from: string; key: string; paths: readonly KnownPath[] },
): Promise<void> {
  const script = `${QUICK}
    paths='${paths.map(({ storePath }) => storePath).join(' ')}'
    nix copy --from "${from}" --option require-sigs true --option trusted-public-keys '${key}' $paths
    ${TELL}`;
  assert.deepEqual(sorted(parsed(await runJob(world, job, script))), sorted(paths));
}
