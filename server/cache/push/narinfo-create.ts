/**
 * `narInfoCreate` of the Cachix protocol: what a client claims of a path at `complete`. Its hashes come in three
 * spellings (bare hex, prefixed nix32, and on import whatever the source wrote); here they become one.
 */
import {
  FormatError,
  formatHash,
  isHashPart,
  isStorePathName,
  parseBasename,
  parseDeriver,
  parseHash,
  STORE_DIR,
  sha256FromHex,
  sortReferences,
} from '../../nix/index.ts';
import { CacheError } from '../errors.ts';

export interface PathClaim {
  readonly hashPart: string;
  readonly name: string;
  readonly storePath: string;
  /** `sha256:<nix32>` */
  readonly narHash: string;
  readonly narSize: number;
  /** `sha256:<nix32>` of the compressed bytes. */
  readonly fileHash: string;
  readonly fileSize: number;
  readonly references: readonly string[];
  readonly deriver: string | undefined;
  /** Base64 of an Ed25519 signature, without a key name. */
  readonly signature: string | undefined;
}

/** Reads the JSON object. @throws CacheError Invalid, naming the field */
export function parseNarInfoCreate(value: unknown): PathClaim {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('narInfoCreate', 'expected an object');
  const fields = value as Record<string, unknown>;
  try {
    const hashPart = text(fields, 'cStoreHash');
    const name = text(fields, 'cStoreSuffix');
    if (!isHashPart(hashPart)) throw invalid('cStoreHash', 'expected the 32 characters of a store path hash');
    if (!isStorePathName(name)) throw invalid('cStoreSuffix', 'expected the name of a store path');
    const storePath = `${STORE_DIR}/${hashPart}-${name}`;
    const signature = fields.cSig;
    if (signature !== undefined && signature !== null && typeof signature !== 'string')
      throw invalid('cSig', 'expected text or null');
    return {
      hashPart,
      name,
      storePath,
      narHash: formatHash(parseHash(text(fields, 'cNarHash'), { algorithm: 'sha256' })),
      narSize: size(fields, 'cNarSize'),
      fileHash: fileHash(text(fields, 'cFileHash')),
      fileSize: size(fields, 'cFileSize'),
      references: references(fields.cReferences),
      deriver: parseDeriver(
        fields.cDeriver === undefined || fields.cDeriver === '' ? undefined : text(fields, 'cDeriver'),
      ),
      signature: typeof signature === 'string' ? signature : undefined,
    };
  } catch (error) {
    throw error instanceof FormatError ? new CacheError('Invalid', error.message) : error;
  }
}

function fileHash(value: string): string {
  return formatHash(
    /^[0-9a-f]{64}$/i.test(value) ? sha256FromHex(value.toLowerCase()) : parseHash(value, { algorithm: 'sha256' }),
  );
}

function references(value: unknown): string[] {
  if (!Array.isArray(value)) throw invalid('cReferences', 'expected a list of store path basenames');
  return sortReferences(
    value.map((reference) => {
      if (typeof reference !== 'string') throw invalid('cReferences', 'expected a list of store path basenames');
      return parseBasename(reference, 'cReferences').basename;
    }),
  );
}

function text(fields: Record<string, unknown>, field: string): string {
  const value = fields[field];
  if (typeof value !== 'string') throw invalid(field, 'expected text');
  return value;
}

function size(fields: Record<string, unknown>, field: string): number {
  const value = fields[field];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value <= 0)
    throw invalid(field, 'expected a whole number above 0');
  return value;
}

function invalid(field: string, what: string): CacheError {
  return new CacheError('Invalid', `${field}: ${what}`);
}
