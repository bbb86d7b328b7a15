/** What caches have acknowledged, and the proof that they have it still: nix pulls it, with signatures required. */
import assert from 'node:assert/strict';
import { equalHashes, parseHash } from '../../../server/nix/index.ts';
import type { Client } from './client.ts';

export interface Acknowledged {
  readonly storePath: string;
  /** Of what was pushed, in any form of a hash. */
  readonly narHash: string;
}

/** The lines of JSON that programs in pods print of what was acknowledged. */
export function acknowledgedIn(log: string): Acknowledged[] {
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Acknowledged);
}

/** Environment in which programs of a pod believe an authority. @param name of its ConfigMap, which is mounted */
export function trusting(name: string): Record<string, string> {
  const file = `/config/${name}/ca.crt`;
  return { NODE_EXTRA_CA_CERTS: file, NIX_SSL_CERT_FILE: file, CURL_CA_BUNDLE: file };
}

export interface PullInit {
  readonly url: string;
  readonly publicKeys: readonly string[];
  /** In the pod. */
  readonly netrc?: string;
}

/** Pulls paths into a new store and compares what nix then has with what was pushed. */
export async function assertPulls(client: Client, paths: readonly Acknowledged[], init: PullInit): Promise<void> {
  assert.notEqual(paths.length, 0, 'nothing was acknowledged');
  const { url, publicKeys, netrc } = init;
  const trust = `--option trusted-public-keys '${publicKeys.join(' ')}'`;
  const script = `
    store=$(mktemp -d /tmp/pulled-XXXXXX)
    cat > "$store/paths"
    nix copy ${trust} ${netrc === undefined ? '' : `--netrc-file ${netrc}`} --from ${url} --to "$store" --stdin < "$store/paths"
    nix path-info --store "$store" --json --json-format 1 --stdin < "$store/paths"
    chmod -R u+w "$store" && rm -r "$store"`;
  const input = paths.map(({ storePath }) => `${storePath}\n`).join('');
  const found = JSON.parse(await client.run(script, input)) as Record<string, { narHash: string }>;
  for (const { storePath, narHash } of paths) {
    const has = found[storePath]?.narHash;
    assert.ok(
      has && equalHashes(parseHash(has), parseHash(narHash)),
      `${storePath} came back as ${has}, not ${narHash}`,
    );
  }
}
