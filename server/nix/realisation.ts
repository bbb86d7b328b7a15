/**
 * Realisations: which path a derivation's output has become, where that is known only once it is built (content-addressed
 * derivations). Two forms: nix up to 2.34 names an output by a hash of its derivation and gives the whole
 * (`realisations/<id>.doi`); nix 2.35 names it by the derivation's path and gives the value only (`build-trace-v2/`).
 * Sources: src/libstore/realisation.cc of 2.8, 2.26, 2.34 and 2.35.
 */
import { FormatError, shown } from './errors.ts';
import { isJsonObject, parseJsonObject } from './json.ts';
import { parseSignature } from './signature.ts';
import { type Basename, parseBasename } from './store-path.ts';

/** The output that a realisation is of, as the name of its file tells. */
export type RealisationKey =
  /** `sha256:<64 hex digits>!<output>` */
  | { readonly form: 'id'; readonly id: string }
  | { readonly form: 'trace'; readonly drvPath: string; readonly outputName: string };

export interface Realisation {
  readonly key: RealisationKey;
  readonly outPath: Basename;
  /** `name:base64` */
  readonly signatures: readonly string[];
  /** Ids of the outputs that were built upon, with their paths; none in the newer form. nix 2.34 ignores them. */
  readonly dependents: ReadonlyMap<string, Basename>;
}

const LIMITS = { maxDepth: 4, maxStringBytes: 4096 };
const MAX_SIGNATURES = 100;
export const REALISATION_ID = /^sha256:[0-9a-f]{64}![0-9A-Za-z+\-._?=]{1,211}$/;

/** Reads the file of a realisation. Throws {@link FormatError} for what not every nix of its time could read. */
export function parseRealisation(key: RealisationKey, bytes: Uint8Array): Realisation {
  const fields = parseJsonObject('realisation', bytes, LIMITS);
  if (key.form === 'id' && fields.id !== key.id)
    throw new FormatError('id', `id: expected ${key.id}, as in the address, got ${quoted(fields.id)}`);
  return {
    key,
    outPath: basename(fields.outPath, 'outPath'),
    signatures: signaturesOf(fields.signatures),
    dependents: key.form === 'id' ? dependentsOf(fields.dependentRealisations) : new Map(),
  };
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? shown(value) : 'none';
}

function basename(value: unknown, field: string): Basename {
  if (typeof value !== 'string') throw new FormatError(field, `${field}: expected the name of a store path`);
  return parseBasename(value, field).basename;
}

function signaturesOf(value: unknown): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new FormatError('signatures', 'signatures: expected a list');
  if (value.length > MAX_SIGNATURES)
    throw new FormatError('signatures', `signatures: more than ${MAX_SIGNATURES} of them`);
  return [...new Set(value.map(signatureOf))];
}

/** `name:base64`, or since nix 2.35 `{"keyName": ..., "sig": ...}`, which reads the other as well. */
function signatureOf(value: unknown): string {
  const text = isJsonObject(value) ? `${String(value.keyName)}:${String(value.sig)}` : value;
  if (typeof text !== 'string' || parseSignature(text) === undefined)
    throw new FormatError('signatures', 'signatures: expected name:base64 of 64 bytes');
  return text;
}

function dependentsOf(value: unknown): Map<string, Basename> {
  if (value === undefined) return new Map();
  if (!isJsonObject(value)) throw new FormatError('dependentRealisations', 'dependentRealisations: expected an object');
  const field = 'dependentRealisations';
  return new Map(
    Object.entries(value).map(([id, path]) => {
      if (!REALISATION_ID.test(id)) throw new FormatError(field, `${field}: ${shown(id)} is no id of an output`);
      return [id, basename(path, field)];
    }),
  );
}

/**
 * The texts that signatures cover: that of the nix which wrote it, and, where it names outputs that were built upon, that of
 * nix 2.34, which leaves them out. A reader is content with a signature of either.
 */
export function realisationFingerprints(realisation: Realisation): string[] {
  const { key, outPath, dependents } = realisation;
  if (key.form === 'trace') {
    const { drvPath, outputName } = key;
    return [JSON.stringify({ key: { drvPath, outputName }, value: { outPath } })];
  }
  const texts = [dependents, new Map<string, Basename>()].map((dependentRealisations) =>
    JSON.stringify({ dependentRealisations: sorted(dependentRealisations), id: key.id, outPath }),
  );
  return [...new Set(texts)];
}

/** nix sorts keys by their bytes. Ids begin with a letter, so that JavaScript keeps the order. */
function sorted(map: ReadonlyMap<string, Basename>): Record<string, Basename> {
  return Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The file of a realisation, as the nix of its form writes it, with these signatures. */
export function renderRealisation(realisation: Realisation, signatures = realisation.signatures): string {
  const { key, outPath, dependents } = realisation;
  if (key.form === 'id')
    return JSON.stringify({ dependentRealisations: sorted(dependents), id: key.id, outPath, signatures });
  const pairs = signatures.map((text) => {
    const colon = text.indexOf(':');
    return { keyName: text.slice(0, colon), sig: text.slice(colon + 1) };
  });
  return JSON.stringify({ outPath, signatures: pairs });
}
