import { FormatError, shown } from './errors.ts';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** 32 nix32 digits: the first part of a store path's basename, and the key of its narinfo. */
export type HashPart = Branded<'HashPart'>;
/** The part of a basename behind the first dash, such as `hello-2.12.1`. */
export type StorePathName = Branded<'StorePathName'>;
/** `<hash part>-<name>`, the form of References and Deriver. */
export type Basename = Branded<'Basename'>;
/** `/nix/store/<hash part>-<name>`. */
export type StorePath = Branded<'StorePath'>;

export interface ParsedStorePath {
  readonly path: StorePath;
  readonly basename: Basename;
  readonly hashPart: HashPart;
  readonly name: StorePathName;
}

/** The only store folder served: clients of other stores have other hashes for everything. */
export const STORE_DIR = '/nix/store';

const PREFIX = `${STORE_DIR}/`;
const HASH_PART_LENGTH = 32;
const MAX_NAME_LENGTH = 211;
const HASH_PART = /^[0-9a-df-np-sv-z]{32}$/;
// src/libstore/path.cc: these characters, but neither `.`, `..` nor anything that begins with `.-` or `..-`.
const NAME = /^(?!\.{1,2}(?:-|$))[0-9A-Za-z+\-._?=]+$/;

export function isHashPart(text: string): text is HashPart {
  return text.length === HASH_PART_LENGTH && HASH_PART.test(text);
}

export function isStorePathName(text: string): text is StorePathName {
  return text.length <= MAX_NAME_LENGTH && NAME.test(text);
}

export function isBasename(text: string): text is Basename {
  return (
    text.charAt(HASH_PART_LENGTH) === '-' &&
    isHashPart(text.slice(0, HASH_PART_LENGTH)) &&
    isStorePathName(text.slice(HASH_PART_LENGTH + 1))
  );
}

export function isStorePath(text: string): text is StorePath {
  return text.startsWith(PREFIX) && isBasename(text.slice(PREFIX.length));
}

/**
 * Reads `/nix/store/<hash part>-<name>`. Throws {@link FormatError} with what is wrong; `field` is what the message
 * calls the text.
 */
export function parseStorePath(text: string, field = 'StorePath'): ParsedStorePath {
  if (!text.startsWith(PREFIX)) {
    throw new FormatError(field, `${field}: expected ${PREFIX}<hash>-<name>, got ${shown(text)}`);
  }
  return parseBasename(text.slice(PREFIX.length), field);
}

/** Reads `<hash part>-<name>`. Throws {@link FormatError} with what is wrong. */
export function parseBasename(text: string, field = 'StorePath'): ParsedStorePath {
  const hashPart = text.slice(0, HASH_PART_LENGTH);
  if (!isHashPart(hashPart) || text.charAt(HASH_PART_LENGTH) !== '-') {
    throw new FormatError(field, `${field}: expected 32 nix32 digits, a dash and a name, got ${shown(text)}`);
  }
  const name = text.slice(HASH_PART_LENGTH + 1);
  if (!isStorePathName(name)) throw new FormatError(field, `${field}: ${nameTrouble(name)} in ${shown(text)}`);
  const path = `${PREFIX}${text}`;
  // Both hold by the checks above; the guards only tell the compiler, at the price of one more regular expression.
  if (!isBasename(text) || !isStorePath(path)) throw new FormatError(field, `${field}: not a store path`);
  return { path, basename: text, hashPart, name };
}

function nameTrouble(name: string): string {
  if (name === '') return 'the name is missing';
  if (name.length > MAX_NAME_LENGTH) return `the name is longer than ${MAX_NAME_LENGTH} characters`;
  if (!/^[0-9A-Za-z+\-._?=]+$/.test(name)) return 'the name has a character other than 0-9 A-Z a-z + - . _ ? =';
  return "the name is '.', '..' or begins with '.-' or '..-'";
}
