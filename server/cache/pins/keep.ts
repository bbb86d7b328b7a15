/** How long revisions of a pin stay. The newest always does, and its rule is that of the whole name. */

/** In the form of Cachix's JSON; null: nobody has said, and all stay. */
export type Keep =
  | { readonly tag: 'Days' | 'Revisions'; readonly contents: number }
  | { readonly tag: 'Forever' }
  | null;

const DAY_MS = 24 * 3600_000;

/** Which revisions of a name stay no longer: those below `revision` that were added before `before`. */
export interface Expired {
  readonly revision: number;
  /** Milliseconds. */
  readonly before: number;
}

/** The one place that knows what a rule means; undefined: all stay. @param newest its number, and the rule of the name */
export function expired(newest: { readonly revision: number; readonly keep: Keep }, now: number): Expired | undefined {
  const { revision, keep } = newest;
  switch (keep?.tag) {
    case 'Days':
      return { revision, before: now - keep.contents * DAY_MS };
    case 'Revisions':
      return { revision: revision - keep.contents + 1, before: Number.MAX_SAFE_INTEGER };
    default:
      return undefined;
  }
}
