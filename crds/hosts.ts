import type { BinaryCacheSpec } from './binary-cache.ts';

/** URLs of the hosts that lead to a cache by its Ingress or HTTPRoute: `https://nix.example.org`. */
export function hostUrls({ ingress, httpRoute }: Pick<BinaryCacheSpec, 'ingress' | 'httpRoute'>): string[] {
  // Which protocol a Gateway speaks is its own affair; X-Forwarded-Proto tells.
  const scheme = ingress && ingress.tlsSecretName === undefined ? 'http' : 'https';
  const hosts = ingress ? [ingress.host] : (httpRoute?.hostnames ?? []);
  // A wildcard is no address.
  return hosts.filter((host) => !host.startsWith('*')).map((host) => `${scheme}://${host}`);
}
