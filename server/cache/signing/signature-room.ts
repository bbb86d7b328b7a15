/** Which signatures of a path are kept: those of keys that the cache knows, and of others as many as there is room for. */

/** What is known when signatures are weighed. */
export interface SignatureRoom {
  /** The key of the cache, a client or an upstream that a signature is valid by. */
  readonly knownKeyOf: (signature: string) => string | undefined;
  /** For the lines of all others. */
  readonly otherBytes: number;
}

export interface Weighed {
  /** In the order in which they came. */
  readonly kept: readonly string[];
  readonly leftOut: readonly string[];
}

/** What a narinfo takes beside references and signatures: names, hashes and sizes of a path. */
const FIELDS_BYTES = 1024;
/** `Sig: ` and the end of the line. */
const LINE_BYTES = 6;

/**
 * Room for signatures by keys that nobody here knows. A client that adds one sends the whole narinfo back, so that it must
 * stay well below what is taken: a quarter is left for known keys, of which there are few.
 * @param maxBytes largest narinfo that is taken
 * @param referencesBytes of its line of references
 */
export function roomForOthers(maxBytes: number, referencesBytes: number): number {
  return Math.max(0, Math.floor((maxBytes * 3) / 4) - FIELDS_BYTES - referencesBytes);
}

/**
 * Joins signatures. Of a known key one is kept, and it takes no room from others; of those that are not known the stored
 * ones stay before any new one, whoever pushes it.
 */
export function weighSignatures(
  stored: readonly string[],
  offered: readonly string[],
  { knownKeyOf, otherBytes }: SignatureRoom,
): Weighed {
  const all = [...new Set([...stored, ...offered])];
  const size = all.reduce((sum, signature) => sum + signature.length + LINE_BYTES, 0);
  // The usual case, without a look at any key.
  if (size <= otherBytes) return { kept: all, leftOut: [] };
  const known = new Set<string>();
  let left = otherBytes;
  const isKept = (signature: string) => {
    const key = knownKeyOf(signature);
    if (key !== undefined && !known.has(key)) {
      known.add(key);
      return true;
    }
    left -= signature.length + LINE_BYTES;
    return left >= 0;
  };
  const kept = all.filter(isKept);
  const remains = new Set(kept);
  return { kept, leftOut: all.filter((signature) => !remains.has(signature)) };
}

/** What stands before the colon. */
export function keyNameOf(signature: string): string {
  return signature.slice(0, signature.indexOf(':'));
}
