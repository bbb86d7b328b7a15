/** Who may do what. One function for every route. */
import { includes, type Permission, Tokens } from './tokens.ts';

export type Access =
  | { readonly allowed: true; readonly token: string | undefined; readonly permission: Permission | undefined }
  /**
   * `anonymous`: no credential was given; `unknown`: one that is not of this cache; `refused`: one that is, and does not
   * suffice.
   */
  | { readonly allowed: false; readonly why: 'anonymous' | 'unknown' | 'refused'; readonly text: string };

export interface Guarded {
  readonly isPublic: boolean;
  readonly tokens: Tokens;
}

/** What guards a cache that does not exist: a private one without tokens, so that the two take the same time as well. */
export const NO_CACHE: Guarded = { isPublic: false, tokens: Tokens.none };

export const ANYONE: Extract<Access, { allowed: true }> = { allowed: true, token: undefined, permission: undefined };

/**
 * Reading a public cache needs nothing; but a token of the cache that has expired is told so, since what follows the read
 * would fail later and worse. (Nix's files are asked for without this: a stale netrc must not stop them.)
 * @param token as found in the request, undefined when there is none
 * @param needed what the route needs
 */
export function authorize(cache: Guarded, token: string | undefined, needed: Permission): Access {
  const identity = cache.tokens.identify(token);
  const isOpen = needed === 'Read' && cache.isPublic;
  switch (identity.kind) {
    case 'anonymous':
      if (isOpen) return ANYONE;
      return { allowed: false, why: 'anonymous', text: `this needs a token with the permission ${needed}` };
    case 'unknown':
      if (isOpen) return ANYONE;
      return { allowed: false, why: 'unknown', text: 'this token is not known here' };
    case 'refused':
      return { allowed: false, why: 'refused', text: identity.reason };
    case 'token':
      if (includes(identity.permission, needed))
        return { allowed: true, token: identity.name, permission: identity.permission };
      return {
        allowed: false,
        why: 'refused',
        text: `token ${identity.name} has the permission ${identity.permission}, this needs ${needed}`,
      };
  }
}
