import { type Compression, parseCompression } from './compression.ts';
import { FormatError, shown } from './errors.ts';
import { formatHash, type Hash, parseHash } from './hash.ts';
import { parseSignature } from './signature.ts';
import { parseBasename, parseStorePath, type StorePath } from './store-path.ts';

/** What a narinfo says. Formats: doc/manual/source/protocols/binary-cache/narinfo.md of Nix. */
export interface NarInfo {
  readonly storePath: StorePath;
  /** As written: relative to the cache, or absolute. See {@link narFileOfUrl}. */
  readonly url: string;
  /** Undefined when the line is missing, which Nix reads as bzip2. */
  readonly compression?: Compression | undefined;
  /** SHA-256 of the compressed file. */
  readonly fileHash?: Hash | undefined;
  /** Bytes of the compressed file. */
  readonly fileSize?: number | undefined;
  /** SHA-256 of the NAR. */
  readonly narHash: Hash;
  /** Bytes of the NAR, above zero. */
  readonly narSize: number;
  /** Basenames, sorted bytewise, each once; a path may refer to itself. */
  readonly references: readonly string[];
  /** Basename that ends in `.drv`. */
  readonly deriver?: string | undefined;
  /** `name:base64` of 64 bytes, each once, in the order of the text. */
  readonly signatures: readonly string[];
  /** Content address as written, such as `fixed:r:sha256:<nix32>`; checked by checkContentAddress. */
  readonly ca?: string | undefined;
}

const SINGLE_FIELDS = [
  'StorePath',
  'URL',
  'Compression',
  'FileHash',
  'FileSize',
  'NarHash',
  'NarSize',
  'References',
  'Deriver',
  'CA',
] as const;
type SingleField = (typeof SINGLE_FIELDS)[number];
const IS_SINGLE = new Set<string>(SINGLE_FIELDS);

interface Fields {
  readonly single: Partial<Record<SingleField, string>>;
  readonly signatures: string[];
}

/**
 * Reads a narinfo. Whatever Nix' own parser would read as something else than a person does (a blank line, no space
 * behind a colon, a field twice, a cut last line) is refused with its line or field; CRLF, other forms of a hash,
 * unsorted references, unknown fields and malformed `Sig` lines cannot mislead and are normalised or dropped.
 * The caller bounds the size of the text. Throws {@link FormatError}.
 */
export function parseNarInfo(text: string): NarInfo {
  const { single, signatures } = readFields(text);
  const { path: storePath } = parseStorePath(required(single, 'StorePath'));
  return {
    storePath,
    url: parseUrl(required(single, 'URL')),
    // Nix reads an empty value as it reads a missing line.
    compression: single.Compression ? parseCompression(single.Compression) : undefined,
    fileHash: single.FileHash === undefined ? undefined : parseSha256(single.FileHash, 'FileHash'),
    fileSize: single.FileSize === undefined ? undefined : parseSize(single.FileSize, 'FileSize'),
    narHash: parseSha256(required(single, 'NarHash'), 'NarHash'),
    narSize: parseNarSize(required(single, 'NarSize')),
    references: parseReferences(single.References ?? ''),
    deriver: parseDeriver(single.Deriver),
    signatures,
    ca: single.CA ? parseCa(single.CA) : undefined,
  };
}

function readFields(text: string): Fields {
  if (text === '') throw new FormatError('narinfo', 'narinfo: the text is empty');
  const lines = text.split('\n');
  // Without the last line feed nobody can tell whether the last value is whole; Nix refuses it too.
  if (lines.pop() !== '') throw new FormatError('narinfo', 'narinfo: the last line does not end in a line feed');
  const fields: Fields = { single: {}, signatures: [] };
  for (const [index, line] of lines.entries()) {
    addLine(fields, line.endsWith('\r') ? line.slice(0, -1) : line, index + 1);
  }
  return fields;
}

function addLine(fields: Fields, line: string, lineNumber: number): void {
  const colon = line.indexOf(':');
  if (colon <= 0 || line.startsWith('#')) {
    throw new FormatError('narinfo', `narinfo: line ${lineNumber}: expected 'Key: value', got ${shown(line)}`);
  }
  const key = line.slice(0, colon);
  // Nix skips two characters, whatever they are. A bare colon is what an editor leaves of `References: `.
  if (line.length > colon + 1 && line.charAt(colon + 1) !== ' ') {
    throw new FormatError('narinfo', `narinfo: line ${lineNumber}: expected a space after ${shown(`${key}:`)}`);
  }
  const value = line.slice(colon + 2);
  if (key === 'Sig') {
    // One malformed line makes Nix 2.34 drop the whole narinfo: it must not get further than here.
    if (parseSignature(value) !== undefined && !fields.signatures.includes(value)) fields.signatures.push(value);
    return;
  }
  if (!isSingleField(key)) return;
  if (fields.single[key] !== undefined) throw new FormatError(key, `${key}: given twice, again in line ${lineNumber}`);
  fields.single[key] = value;
}

function isSingleField(key: string): key is SingleField {
  return IS_SINGLE.has(key);
}

function required(single: Fields['single'], field: SingleField): string {
  const value = single[field];
  if (value === undefined) throw new FormatError(field, `${field}: the line is missing`);
  return value;
}

const MAX_URL_LENGTH = 2048;

function parseUrl(value: string): string {
  if (!/^[!-~]+$/.test(value) || value.length > MAX_URL_LENGTH) {
    throw new FormatError('URL', `URL: expected 1 to ${MAX_URL_LENGTH} visible ASCII characters, got ${shown(value)}`);
  }
  return value;
}

function parseSha256(value: string, field: string): Hash {
  return parseHash(value, { algorithm: 'sha256', field });
}

function parseSize(value: string, field: string): number {
  const size = /^[0-9]{1,20}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(size)) {
    throw new FormatError(field, `${field}: expected a number of bytes below 2^53, got ${shown(value)}`);
  }
  return size;
}

function parseNarSize(value: string): number {
  const size = parseSize(value, 'NarSize');
  if (size === 0) throw new FormatError('NarSize', 'NarSize: expected a number above 0');
  return size;
}

function parseReferences(value: string): string[] {
  const names = value.split(' ').filter((name) => name !== '');
  for (const name of names) parseBasename(name, 'References');
  return sortReferences(names);
}

/** Sorts basenames bytewise and drops repeated ones: the order of References and of the fingerprint. */
export function sortReferences(references: Iterable<string>): string[] {
  // Basenames are ASCII, so that the order by UTF-16 units is the order by bytes.
  return [...new Set(references)].sort();
}

/** Reads a deriver: a basename that ends in `.drv`; undefined for `unknown-deriver`. Throws {@link FormatError}. */
export function parseDeriver(value: string | undefined): string | undefined {
  if (value === undefined || value === 'unknown-deriver') return undefined;
  const { basename, name } = parseBasename(value, 'Deriver');
  if (!name.endsWith('.drv')) throw new FormatError('Deriver', `Deriver: expected a .drv, got ${shown(value)}`);
  return basename;
}

function parseCa(value: string): string {
  if (!/^[!-~]{1,256}$/.test(value)) throw new FormatError('CA', `CA: expected a content address, got ${shown(value)}`);
  return value;
}

/**
 * The file name behind `nar/` of a URL that points into the same cache (`nar/<file>`, `./nar/<file>`). Throws
 * {@link FormatError} for every other URL: absolute, with a query, or with further folders.
 */
export function narFileOfUrl(url: string): string {
  const file = /^(?:\.\/)?nar\/([0-9A-Za-z_-][0-9A-Za-z._-]*)$/.exec(url)?.[1];
  if (file === undefined) throw new FormatError('URL', `URL: expected nar/<file>, got ${shown(url)}`);
  return file;
}

/**
 * Writes a narinfo as Nix does: one space behind each colon, LF, `References` even when it is empty (with its space,
 * or Nix' parser swallows the next line), hashes as nix32, the order of Nix 2.8 to 2.35.
 */
export function renderNarInfo(info: NarInfo): string {
  let text = `StorePath: ${info.storePath}\nURL: ${info.url}\nCompression: ${info.compression ?? 'bzip2'}\n`;
  if (info.fileHash !== undefined) text += `FileHash: ${formatHash(info.fileHash)}\n`;
  if (info.fileSize !== undefined) text += `FileSize: ${info.fileSize}\n`;
  text += `NarHash: ${formatHash(info.narHash)}\nNarSize: ${info.narSize}\nReferences: ${info.references.join(' ')}\n`;
  if (info.deriver !== undefined) text += `Deriver: ${info.deriver}\n`;
  for (const signature of info.signatures) text += `Sig: ${signature}\n`;
  if (info.ca !== undefined) text += `CA: ${info.ca}\n`;
  return text;
}
