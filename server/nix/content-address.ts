import { FormatError, shown } from './errors.ts';
import { equalHashes, type Hash, hashToHex, isHashAlgorithm, parseHash, sha256 } from './hash.ts';
import { encodeNix32 } from './nix32.ts';
import { isStorePath, parseStorePath, STORE_DIR, type StorePath } from './store-path.ts';

/** How a path's content is hashed: as text, as one flat file, or as a NAR. */
export interface ContentAddress {
  readonly method: 'text' | 'flat' | 'recursive';
  readonly hash: Hash;
}

export interface ContentAddressClaim {
  readonly ca: string;
  readonly storePath: string;
  /** Basenames, the path itself among them when it refers to itself. */
  readonly references: readonly string[];
  readonly narHash: Hash;
}

export type ContentAddressVerdict = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/**
 * Reads `text:<hash>`, `fixed:<hash>` (flat) or `fixed:r:<hash>` (src/libstore/content-address.cc). Throws
 * {@link FormatError} for the rest, among it `fixed:git:`, which cannot be checked without the tree's git objects.
 */
export function parseContentAddress(text: string): ContentAddress {
  const [, prefix, algorithm, digest] = /^(text:|fixed:r:|fixed:)([^:]+):([^:]+)$/.exec(text) ?? [];
  if (prefix === undefined || algorithm === undefined || digest === undefined || !isHashAlgorithm(algorithm)) {
    throw new FormatError(
      'CA',
      `CA: ${shown(text)} cannot be verified; expected text:sha256:, fixed:<algorithm>: or fixed:r:<algorithm>: and a hash`,
    );
  }
  if (prefix === 'text:' && algorithm !== 'sha256') {
    throw new FormatError('CA', `CA: text is hashed with sha256, not ${algorithm}`);
  }
  const method = prefix === 'text:' ? 'text' : prefix === 'fixed:' ? 'flat' : 'recursive';
  return { method, hash: parseHash(`${algorithm}:${digest}`, { field: 'CA' }) };
}

/** Computes a store path (makeStorePath of src/libstore/store-dir-config.cc) from its type and inner hash. */
function makeStorePath(type: string, hash: Hash, name: string): StorePath {
  const inner = sha256(`${type}:${hash.algorithm}:${hashToHex(hash)}:${STORE_DIR}:${name}`).digest;
  const folded = Buffer.alloc(20);
  for (const [index, byte] of inner.entries()) folded[index % 20] = (folded[index % 20] ?? 0) ^ byte;
  const path = `${STORE_DIR}/${encodeNix32(folded)}-${name}`;
  if (!isStorePath(path)) throw new FormatError('StorePath', `StorePath: ${shown(name)} is not a name`);
  return path;
}

function typeWithReferences(type: string, others: readonly string[], refersToItself: boolean): string {
  const parts = [type, ...[...others].sort().map((basename) => `${STORE_DIR}/${basename}`)];
  if (refersToItself) parts.push('self');
  return parts.join(':');
}

/**
 * Computes the store path that a content address stands for. `references` are basenames without the path itself.
 * Throws {@link FormatError} where Nix allows no references.
 */
export function storePathOfContentAddress(
  address: ContentAddress,
  name: string,
  references: readonly string[],
  refersToItself: boolean,
): StorePath {
  const { method, hash } = address;
  if (method === 'text') {
    if (refersToItself) throw new FormatError('CA', 'CA: a text path cannot refer to itself');
    return makeStorePath(typeWithReferences('text', references, false), hash, name);
  }
  if (method === 'recursive' && hash.algorithm === 'sha256') {
    return makeStorePath(typeWithReferences('source', references, refersToItself), hash, name);
  }
  if (references.length > 0 || refersToItself) {
    throw new FormatError('CA', 'CA: only text and fixed:r:sha256 paths can have references');
  }
  const inner = `fixed:out:${method === 'recursive' ? 'r:' : ''}${hash.algorithm}:${hashToHex(hash)}:`;
  return makeStorePath('output:out', sha256(inner), name);
}

/**
 * Checks that a content address leads to the store path, and for `fixed:r:sha256` to the NAR hash. A path that refers
 * to itself is hashed with its own hash part blanked out, so that its NAR hash differs from its content address: there
 * only the path is compared. Flat and text hashes cover the file inside the NAR and are not compared with it.
 */
export function checkContentAddress(claim: ContentAddressClaim): ContentAddressVerdict {
  try {
    return compare(claim);
  } catch (error) {
    if (error instanceof FormatError) return { ok: false, reason: error.message };
    throw error;
  }
}

function compare({ ca, storePath, references, narHash }: ContentAddressClaim): ContentAddressVerdict {
  const address = parseContentAddress(ca);
  const { basename, name } = parseStorePath(storePath);
  const others = references.filter((reference) => reference !== basename);
  const refersToItself = others.length < references.length;
  const computed = storePathOfContentAddress(address, name, others, refersToItself);
  if (computed !== storePath) return { ok: false, reason: `CA: ${ca} belongs to ${computed}` };
  const hashesNar = address.method === 'recursive' && address.hash.algorithm === 'sha256' && !refersToItself;
  if (hashesNar && !equalHashes(address.hash, narHash)) {
    return { ok: false, reason: 'CA: its hash differs from NarHash' };
  }
  return { ok: true };
}
