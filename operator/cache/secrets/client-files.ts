/** What a job or a person needs to use a token, as files to mount: the content of a token's Secret. */

import type { Inputs } from '../desired/index.ts';
import { bestUrl, serviceHost } from '../desired/index.ts';
import type { Cache } from '../types.ts';

/** `token`, `netrc`, `nix.conf` and `cachix.sh`. Pods of the cluster reach the Service, so its lines come first. */
export function clientFiles(
  cache: Cache,
  inputs: Inputs,
  token: string,
  publicKeys: readonly string[],
): Record<string, string> {
  const { name } = cache.metadata;
  const service = serviceHost(cache);
  const best = new URL(bestUrl(cache, inputs));
  const hosts = [...new Set([service, `${service}.cluster.local`, best.hostname])];
  const api = inputs.apiUrl ?? `http://${service}`;
  return {
    token,
    netrc: hosts.map((host) => `machine ${host} login narwhal password ${token}\n`).join(''),
    'nix.conf': lines(
      '# Append it to nix.conf, and name the netrc of this Secret: netrc-file = <where it is mounted>/netrc',
      `extra-substituters = http://${service}`,
      ...(publicKeys.length > 0 ? [`extra-trusted-public-keys = ${publicKeys.join(' ')}`] : []),
      '# To push, where the token may: else nix goes by what it saw here in the last 30 days, whatever was removed since.',
      `# nix copy --option narinfo-cache-positive-ttl 0 --netrc-file NETRC --to 'http://${service}/push?compression=zstd' PATH`,
    ),
    'cachix.sh': lines(
      `cachix config set hostname ${api}`,
      `export CACHIX_AUTH_TOKEN=${token}`,
      `cachix use ${name}`,
      `# cachix push ${name} ./result`,
    ),
  };
}

const lines = (...texts: string[]): string => texts.map((text) => `${text}\n`).join('');
