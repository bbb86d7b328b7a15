/** The token of a request: `Bearer`, or the password of `Basic` with any user (nix sends what its netrc says). */

/**
 * @param header value of `Authorization`
 * @returns undefined when there is no credential: cachix sends a bare `Bearer`, and a netrc may have no password. Empty for
 * a credential with no token in it, as a token behind `Basic` without base64: it is one that nobody knows.
 */
export function credentialOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const [, scheme = '', rest = ''] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(header) ?? [];
  switch (scheme.toLowerCase()) {
    case '':
      return undefined;
    case 'bearer':
      return rest || undefined;
    case 'basic': {
      if (rest === '') return undefined;
      const text = Buffer.from(rest, 'base64').toString('utf8');
      const colon = text.indexOf(':');
      return colon < 0 ? '' : text.slice(colon + 1) || undefined;
    }
    default:
      return '';
  }
}

/** The token itself, where there is one. */
export function tokenOf(header: string | undefined): string | undefined {
  return credentialOf(header) || undefined;
}
