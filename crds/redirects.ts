/**
 * Redirects that lead a client back to a host name of its cache. nix looks passwords up by the host name alone, port
 * left out, at every redirect anew: it would send the cache's token to the S3 service, beside the signature in the URL.
 * Strict services answer 400 to two credentials, which nix takes for an end, and any service learns the token.
 */
import type { S3Spec } from './storage.ts';

/** What of a bucket decides where its redirects lead. */
export type RedirectingBucket = Pick<S3Spec, 'bucket' | 'forcePathStyle' | 'reads'> & {
  readonly endpoint?: string | undefined;
  readonly publicEndpoint?: string | undefined;
};

/** Host name that clients are redirected to; undefined: they are not, or to AWS. */
export function redirectHost({
  bucket,
  forcePathStyle,
  reads,
  endpoint,
  publicEndpoint = endpoint,
}: RedirectingBucket): string | undefined {
  if (reads !== 'Redirect' || publicEndpoint === undefined) return undefined;
  const { hostname } = new URL(publicEndpoint);
  // An address has no names below it, and no certificate is for a name with more dots: the bucket is in the path then.
  const isInPath = hostname.startsWith('[') || /^\d+(\.\d+){3}$/.test(hostname) || bucket.includes('.');
  return forcePathStyle || isInPath ? hostname : `${bucket}.${hostname}`;
}

/** What to say of a bucket whose redirects lead to one of these host names of its cache; undefined: nothing. */
export function redirectTrouble(bucket: RedirectingBucket, hosts: readonly string[]): string | undefined {
  const host = redirectHost(bucket);
  if (host === undefined || !hosts.includes(host)) return undefined;
  return `reads are redirected to ${host}, which is a host of this cache: nix sends the cache's token there too, and strict services answer 400. Give the service another host name in publicEndpoint, or set reads to Proxy`;
}
