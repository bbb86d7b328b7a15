import * as crypto from 'node:crypto';
import { FormatError, shown } from './errors.ts';
import { decodeNix32, encodeNix32, nix32Length } from './nix32.ts';

/** Digest sizes in bytes, by the names that Nix uses. blake3 is experimental there and not known here. */
const DIGEST_BYTES = { md5: 16, sha1: 20, sha256: 32, sha512: 64 } as const;

export type HashAlgorithm = keyof typeof DIGEST_BYTES;

export interface Hash {
  readonly algorithm: HashAlgorithm;
  readonly digest: Buffer;
}

export interface ParseHashOptions {
  /** The only algorithm taken; text without a prefix is read as this one. */
  algorithm?: HashAlgorithm;
  /** What error messages call the text. Default: `hash`. */
  field?: string;
}

export function isHashAlgorithm(text: string): text is HashAlgorithm {
  return Object.hasOwn(DIGEST_BYTES, text);
}

/**
 * Reads a hash in any form that Nix writes: `sha256:` and nix32, base16 or base64, or SRI `sha256-<base64>`
 * (src/libutil/hash.cc). The length tells the base. Throws {@link FormatError}.
 */
export function parseHash(text: string, options: ParseHashOptions = {}): Hash {
  const field = options.field ?? 'hash';
  const { algorithm, separator, rest } = split(text, field, options.algorithm);
  if (options.algorithm !== undefined && algorithm !== options.algorithm) {
    throw new FormatError(field, `${field}: expected a ${options.algorithm} hash, got ${shown(text)}`);
  }
  const digest = decodeDigest(rest, DIGEST_BYTES[algorithm], separator === '-');
  if (digest === undefined) {
    throw new FormatError(field, `${field}: expected ${algorithm} in nix32, base16 or base64, got ${shown(text)}`);
  }
  return { algorithm, digest };
}

function split(text: string, field: string, fallback: HashAlgorithm | undefined) {
  const at = text.search(/[:-]/);
  if (at === -1) {
    if (fallback === undefined) throw new FormatError(field, `${field}: expected algorithm:digest, got ${shown(text)}`);
    return { algorithm: fallback, separator: '', rest: text };
  }
  const algorithm = text.slice(0, at);
  if (!isHashAlgorithm(algorithm)) {
    throw new FormatError(field, `${field}: the hash algorithm of ${shown(text)} is not known`);
  }
  return { algorithm, separator: text.charAt(at), rest: text.slice(at + 1) };
}

function decodeDigest(text: string, size: number, isSri: boolean): Buffer | undefined {
  if (isSri || text.length === Math.ceil(size / 3) * 4) {
    const digest = Buffer.from(text, 'base64');
    return digest.length === size && digest.toString('base64') === text ? digest : undefined;
  }
  if (text.length === size * 2) return /^[0-9a-fA-F]*$/.test(text) ? Buffer.from(text, 'hex') : undefined;
  if (text.length !== nix32Length(size)) return undefined;
  try {
    return decodeNix32(text);
  } catch {
    return undefined;
  }
}

/** Writes `algorithm:<nix32>`, the form of narinfo files, fingerprints and content addresses. */
export function formatHash(hash: Hash): string {
  return `${hash.algorithm}:${encodeNix32(hash.digest)}`;
}

/** Lower-case hex digits without a prefix. */
export function hashToHex(hash: Hash): string {
  return hash.digest.toString('hex');
}

/** Reads 64 hex digits without a prefix as SHA-256, the form of Cachix' `cFileHash`. Throws {@link FormatError}. */
export function sha256FromHex(hex: string, field = 'hash'): Hash {
  if (!/^[0-9a-f]{64}$/i.test(hex)) {
    throw new FormatError(field, `${field}: expected 64 hex digits, got ${shown(hex)}`);
  }
  return { algorithm: 'sha256', digest: Buffer.from(hex, 'hex') };
}

export function sha256(data: Uint8Array | string): Hash {
  return { algorithm: 'sha256', digest: crypto.hash('sha256', data, 'buffer') };
}

export function equalHashes(a: Hash, b: Hash): boolean {
  return a.algorithm === b.algorithm && a.digest.equals(b.digest);
}
