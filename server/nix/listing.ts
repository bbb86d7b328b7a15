/**
 * Listings of NARs (`<hash>.ls`): `{"version": 1, "root": {...}}` with a node for each file, checked while they come in.
 * Fields that are not known here are let through, as nix does.
 */
import { FormatError, shown } from './errors.ts';
import { type JsonHandler, JsonReader } from './json.ts';
import { MAX_DEPTH } from './nar/parser.ts';

/** The whole, and for each level of folders a node and its entries. One more for fields that are not known. */
const MAX_JSON_DEPTH = 1 + 2 * MAX_DEPTH + 1;
/** A name has 255 bytes, the target of a link 4095; an escape makes six bytes of one. */
const MAX_STRING_BYTES = 32 * 1024;

/** Names of files are bytes, which nix 2.8 writes as they are. */
const LIMITS = { maxDepth: MAX_JSON_DEPTH, maxStringBytes: MAX_STRING_BYTES, hasAnyBytes: true };

type Frame =
  | { readonly kind: 'listing'; key: string; hasVersion: boolean; hasRoot: boolean }
  | { readonly kind: 'node'; key: string; type: unknown; readonly found: Set<string> }
  | { readonly kind: 'entries'; key: string }
  | { readonly kind: 'unknown'; key: string };

/** What a node of each type must have; some nix leave out the size of a file. */
const NEEDS: Readonly<Record<string, string>> = { directory: 'entries', symlink: 'target', regular: 'type' };

/** Checks a listing that comes in pieces. Throws {@link FormatError}. */
export class ListingChecker implements JsonHandler {
  readonly #reader = new JsonReader('listing', LIMITS, this);
  readonly #frames: Frame[] = [];
  #bytes = 0;

  write(piece: Uint8Array): void {
    this.#bytes += piece.length;
    this.#reader.write(piece);
  }

  end(): void {
    if (this.#bytes === 0) throw wrong('the body is empty');
    this.#reader.end();
  }

  open(kind: 'object' | 'array'): void {
    this.#frames.push(this.#frameFor(kind));
  }

  #frameFor(kind: 'object' | 'array'): Frame {
    const parent = this.#frames.at(-1);
    if (parent === undefined) {
      if (kind !== 'object') throw wrong('expected a JSON object');
      return { kind: 'listing', key: '', hasVersion: false, hasRoot: false };
    }
    const isNode = parent.kind === 'entries' || (parent.kind === 'listing' && parent.key === 'root');
    if (isNode && kind === 'object') return { kind: 'node', key: '', type: undefined, found: new Set() };
    if (parent.kind === 'node' && parent.key === 'entries' && kind === 'object') return { kind: 'entries', key: '' };
    this.#checkValue(parent, undefined);
    return { kind: 'unknown', key: '' };
  }

  close(): void {
    const frame = this.#frames.pop();
    if (frame?.kind === 'listing' && !(frame.hasVersion && frame.hasRoot)) throw wrong('expected version and root');
    if (frame?.kind === 'node') {
      const need = typeof frame.type === 'string' && Object.hasOwn(NEEDS, frame.type) ? NEEDS[frame.type] : undefined;
      if (need === undefined) throw wrong('type: expected directory, regular or symlink');
      if (!frame.found.has(need)) throw wrong(`${need}: missing in a node of type ${String(frame.type)}`);
    }
  }

  key(name: string): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) return;
    frame.key = name;
    if (frame.kind === 'listing') {
      frame.hasVersion ||= name === 'version';
      frame.hasRoot ||= name === 'root';
    }
    if (frame.kind === 'node') frame.found.add(name);
    if (frame.kind === 'entries' && !isEntryName(name)) throw wrong(`${shown(name)} is no name of a file`);
  }

  value(value: string | number | boolean | null): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) throw wrong('expected a JSON object');
    this.#checkValue(frame, value);
    if (frame.kind === 'node' && frame.key === 'type') frame.type = value;
  }

  /** @param value undefined for objects and arrays */
  #checkValue(frame: Frame, value: string | number | boolean | null | undefined): void {
    const { kind, key } = frame;
    if (kind === 'entries' || (kind === 'listing' && key === 'root')) throw wrong('expected a node');
    if (kind === 'listing' && key === 'version' && value !== 1) throw wrong('version: expected 1');
    if (kind !== 'node' || !Object.hasOwn(NODE_FIELDS, key)) return;
    if (!NODE_FIELDS[key]?.(value)) throw wrong(`${key}: not what it should be`);
  }
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
const isText = (value: unknown) => typeof value === 'string';

/** Fields of a node that are known, but for what is within them. */
const NODE_FIELDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  type: isText,
  target: isText,
  size: isCount,
  narOffset: isCount,
  executable: (value) => typeof value === 'boolean',
  entries: () => false,
};

function isEntryName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

function wrong(trouble: string): FormatError {
  return new FormatError('listing', `listing: ${trouble}`);
}
