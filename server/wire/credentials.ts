/** The token of a request: `Bearer`, or the password of `Basic` with any user (nix sends what its netrc says). */

/** @param header value of `Authorization`. Undefined when there is no token in it: cachix sends a bare `Bearer`. */
export function tokenOf(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const [, scheme = '', rest = ''] = /^(\S+)\s*(.*)$/.exec(header) ?? [];
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return rest.trim() || undefined;
    case 'basic': {
      const text = Buffer.from(rest, 'base64').toString('utf8');
      const colon = text.indexOf(':');
      return colon < 0 ? undefined : text.slice(colon + 1) || undefined;
    }
    default:
      return undefined;
  }
}
