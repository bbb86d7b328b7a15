/** Who may do what. One function for every route, the hot ones included. */
import { includes, type Permission, type Tokens } from './tokens.ts';

export type Access =
  | { readonly allowed: true; readonly token: string | undefined; readonly permission: Permission | undefined }
  /** `anonymous`: no credential was given; `refused`: one was, and it does not suffice. */
  | { readonly allowed: false; readonly why: 'anonymous' | 'refused'; readonly text: string };

export interface Guarded {
  readonly isPublic: boolean;
  readonly tokens: Tokens;
}

/**
 * @param token as found in the request, undefined when there is none
 * @param needed what the route needs
 */
export function authorize(cache: Guarded, token: string | undefined, needed: Permission): Access {
  const identity = cache.tokens.identify(token);
  if (identity.kind === 'token' && includes(identity.permission, needed)) {
    return { allowed: true, token: identity.name, permission: identity.permission };
  }
  // Reading a public cache needs nothing, and a stale token in someone's netrc must not stop it.
  if (needed === 'Read' && cache.isPublic) return { allowed: true, token: undefined, permission: undefined };
  switch (identity.kind) {
    case 'anonymous':
      return { allowed: false, why: 'anonymous', text: `this needs a token with the permission ${needed}` };
    case 'refused':
      return { allowed: false, why: 'refused', text: identity.reason };
    case 'token':
      return {
        allowed: false,
        why: 'refused',
        text: `token ${identity.name} has the permission ${identity.permission}, this needs ${needed}`,
      };
  }
}
