import * as crypto from 'node:crypto';
import { FormatError, shown } from './errors.ts';
import { formatHash, type Hash } from './hash.ts';
import { STORE_DIR } from './store-path.ts';

/** What a signature covers: neither deriver nor content address, URL or compression. */
export interface SignedFields {
  readonly storePath: string;
  readonly narHash: Hash;
  readonly narSize: number;
  /** Basenames, in any order. */
  readonly references: readonly string[];
}

/** The signed text (src/libstore/path-info.cc): `1;<path>;sha256:<nix32>;<size>;<full reference paths by comma>`. */
export function fingerprint(fields: SignedFields): string {
  const references = [...fields.references].sort().map((basename) => `${STORE_DIR}/${basename}`);
  return `1;${fields.storePath};${formatHash(fields.narHash)};${fields.narSize};${references.join(',')}`;
}

export interface ParsedSignature {
  readonly keyName: string;
  readonly signature: Buffer;
}

const SIGNATURE_BYTES = 64;
const SEED_BYTES = 32;
const PUBLIC_BYTES = 32;
const KEY_NAME = /^[!-9;-~]+$/;
const MAX_KEY_NAME_LENGTH = 255;

/** Reads `name:base64` of 64 bytes; undefined when it is anything else. */
export function parseSignature(text: string): ParsedSignature | undefined {
  const parts = splitKey(text, SIGNATURE_BYTES);
  return parts === undefined ? undefined : { keyName: parts.name, signature: parts.bytes };
}

function splitKey(text: string, size: number): { name: string; bytes: Buffer } | undefined {
  const colon = text.indexOf(':');
  const name = text.slice(0, Math.max(colon, 0));
  if (!isKeyName(name)) return undefined;
  const base64 = text.slice(colon + 1);
  const bytes = Buffer.from(base64, 'base64');
  // Node skips characters that are not base64; Nix does not.
  return bytes.length === size && bytes.toString('base64') === base64 ? { name, bytes } : undefined;
}

/** A key name is visible ASCII without a colon: what Nix splits at the first colon of a key or signature. */
function isKeyName(text: string): boolean {
  return text.length <= MAX_KEY_NAME_LENGTH && KEY_NAME.test(text);
}

// DER around the 32 bytes of an Ed25519 key (RFC 8410 sections 4 and 7): node:crypto takes no bare ones.
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex');

/** A signing key. The secret is in a private field: neither JSON nor the inspector shows it. */
export class SecretKey {
  readonly name: string;
  /** `name:base64` of the public half, the form of `trusted-public-keys`. */
  readonly publicKey: string;
  readonly #key: crypto.KeyObject;

  constructor(name: string, key: crypto.KeyObject) {
    this.name = name;
    this.publicKey = `${name}:${publicBytes(key).toString('base64')}`;
    this.#key = key;
  }

  /** Signs a fingerprint: `name:base64`, the value of a `Sig` line. */
  sign(text: string): string {
    return `${this.name}:${crypto.sign(null, Buffer.from(text), this.#key).toString('base64')}`;
  }
}

/** A key that signatures are checked with. */
export class PublicKey {
  readonly name: string;
  /** `name:base64`, as it was read. */
  readonly text: string;
  readonly #key: crypto.KeyObject;

  constructor(name: string, bytes: Buffer) {
    this.name = name;
    this.text = `${name}:${bytes.toString('base64')}`;
    const der = Buffer.concat([SPKI_HEAD, bytes]);
    this.#key = crypto.createPublicKey({ key: der, format: 'der', type: 'spki' });
  }

  /** True when the signature (`name:base64`) is of this key's name and covers the fingerprint. Never throws. */
  verify(text: string, signature: string): boolean {
    const parsed = parseSignature(signature);
    if (parsed === undefined || parsed.keyName !== this.name) return false;
    return crypto.verify(null, Buffer.from(text), this.#key, parsed.signature);
  }
}

function publicBytes(key: crypto.KeyObject): Buffer {
  return crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(SPKI_HEAD.length);
}

/**
 * Reads a key file of `nix-store --generate-binary-cache-key`: `name:base64` of seed and public half, white space
 * around it ignored. Throws {@link FormatError}, which tells nothing of the text.
 */
export function parseSecretKey(text: string): SecretKey {
  const parts = splitKey(text.trim(), SEED_BYTES + PUBLIC_BYTES);
  if (parts === undefined) {
    throw new FormatError('secret key', 'secret key: expected name:base64 of 64 bytes, as Nix writes key files');
  }
  const seed = parts.bytes.subarray(0, SEED_BYTES);
  const key = crypto.createPrivateKey({ key: Buffer.concat([PKCS8_HEAD, seed]), format: 'der', type: 'pkcs8' });
  if (!publicBytes(key).equals(parts.bytes.subarray(SEED_BYTES))) {
    throw new FormatError('secret key', 'secret key: its public half does not belong to its secret half');
  }
  return new SecretKey(parts.name, key);
}

/** Reads `name:base64` of 32 bytes, an entry of `trusted-public-keys`. Throws {@link FormatError}. */
export function parsePublicKey(text: string): PublicKey {
  const parts = splitKey(text.trim(), PUBLIC_BYTES);
  if (parts === undefined) {
    // Someone who gives the secret key instead must not read it in a log.
    throw new FormatError('public key', 'public key: expected name:base64 of 32 bytes');
  }
  return new PublicKey(parts.name, parts.bytes);
}

/** A new key in the form of Nix' key files: `name:base64` of seed and public half. Throws for a bad name. */
export function generateSecretKey(name: string): string {
  if (!isKeyName(name)) {
    throw new FormatError('key name', `key name: expected visible ASCII without a colon, got ${shown(name)}`);
  }
  const { privateKey } = crypto.generateKeyPairSync('ed25519');
  const seed = privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(PKCS8_HEAD.length);
  return `${name}:${Buffer.concat([seed, publicBytes(privateKey)]).toString('base64')}`;
}
