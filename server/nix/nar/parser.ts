import { FormatError, shown } from '../errors.ts';
import { narString } from './writer.ts';

// Limits of src/libutil/archive.cc, the strictest of Nix 2.8 to 2.35: what passes here can be unpacked by all.
const MAX_KEYWORD_BYTES = 32;
const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = 4095;
/** The root is at depth 0; a node at depth 64 is one too deep. */
export const MAX_DEPTH = 64;

const SLASH = 0x2f;
const DOT = 0x2e;

/** Places in the grammar where a keyword stands, with the place that each keyword leads to. */
const KEYWORDS = {
  start: { 'nix-archive-1': 'node' },
  node: { '(': 'type' },
  type: { type: 'kind' },
  kind: { regular: 'regular', symlink: 'symlink', directory: 'directory' },
  regular: { executable: 'executable', contents: 'contents' },
  executable: { '': 'contents-key' },
  'contents-key': { contents: 'contents' },
  symlink: { target: 'target' },
  leaf: { ')': 'leave' },
  directory: { entry: 'entry', ')': 'leave' },
  entry: { '(': 'name-key' },
  'name-key': { name: 'name' },
  'node-key': { node: 'child' },
  'entry-end': { ')': 'directory' },
} as const;

type KeywordPlace = keyof typeof KEYWORDS;
type Place = KeywordPlace | 'contents' | 'name' | 'target' | 'end';
type Next = Place | 'leave' | 'child';

const KEYWORD_PLACES: ReadonlyMap<string, ReadonlyMap<string, Next>> = new Map(
  Object.entries(KEYWORDS).map(([place, words]) => [place, new Map<string, Next>(Object.entries(words))]),
);

const KEYWORD_LIMIT = { what: 'keyword', limit: MAX_KEYWORD_BYTES };
const STRING_LIMITS: Partial<Record<Place, { what: string; limit: number }>> = {
  name: { what: 'name', limit: MAX_NAME_BYTES },
  target: { what: 'symlink target', limit: MAX_TARGET_BYTES },
};

const NO_BYTES = Buffer.alloc(0);

interface Token {
  readonly token: Buffer;
  readonly next: Next;
}

const NO_TOKENS: readonly Token[] = [];
/** The keywords once more, as they stand in a NAR. */
const TOKENS: ReadonlyMap<string, readonly Token[]> = new Map(
  [...KEYWORD_PLACES].map(([place, words]) => [
    place,
    [...words].map(([word, next]) => ({ token: narString(word), next })),
  ]),
);

/** What is being read of a string: its length, its bytes with their padding, or contents that nobody looks at. */
type Part = 'length' | 'bytes' | 'skip' | 'padding';

/**
 * Checks a NAR that comes in chunks of any size. Memory is constant but for one name per folder depth; file contents
 * are skipped without a look. Everything Nix does not write is refused with {@link FormatError}: entries out of order,
 * padding other than zeros, bytes after the end. The verdict does not depend on the chunks.
 */
export class NarParser {
  #place: Place = 'start';
  #part: Part = 'length';
  /** Bytes that the current part needs. */
  #need = 8;
  /** Length of the current string without its padding. */
  #length = 0;
  /** Bytes of the NAR before the current part. */
  #offset = 0;
  readonly #held = Buffer.alloc(MAX_TARGET_BYTES + 9);
  #heldBytes = 0;
  #depth = 0;
  /** The last name seen in each open folder. */
  readonly #names: (Buffer | undefined)[] = [];

  /** Takes the next bytes. The chunk may be reused afterwards. */
  write(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < bytes.length) {
      if (this.#place === 'end') throw broken('bytes after the end of the NAR');
      at +=
        this.#part === 'skip' ? this.#skip(bytes.length - at) : this.#keyword(bytes, at) || this.#collect(bytes, at);
    }
  }

  /** Ends the NAR. Throws {@link FormatError} when it is not complete. */
  end(): void {
    if (this.#place !== 'end') {
      throw broken(`the NAR is truncated after ${this.#offset + this.#heldBytes} bytes`);
    }
  }

  #skip(available: number): number {
    const count = Math.min(available, this.#need);
    this.#need -= count;
    this.#offset += count;
    if (this.#need === 0) this.#contentsRead();
    return count;
  }

  /**
   * Takes an expected keyword that lies in the chunk as a whole, length and padding with it; 0 when there is none, and
   * the long way will say why. Four of five strings of a NAR are keywords: this makes folders of small files
   * twice as fast.
   */
  #keyword(bytes: Buffer, at: number): number {
    if (this.#part !== 'length' || this.#heldBytes > 0) return 0;
    for (const { token, next } of TOKENS.get(this.#place) ?? NO_TOKENS) {
      if (!holds(bytes, at, token)) continue;
      this.#offset += token.length;
      this.#enter(this.#turn(next));
      return token.length;
    }
    return 0;
  }

  #collect(bytes: Buffer, at: number): number {
    if (this.#heldBytes === 0 && bytes.length - at >= this.#need) {
      const count = this.#need;
      this.#partRead(bytes.subarray(at, at + count));
      return count;
    }
    const count = Math.min(bytes.length - at, this.#need - this.#heldBytes);
    bytes.copy(this.#held, this.#heldBytes, at, at + count);
    this.#heldBytes += count;
    if (this.#heldBytes === this.#need) {
      this.#heldBytes = 0;
      this.#partRead(this.#held.subarray(0, this.#need));
    }
    return count;
  }

  #partRead(bytes: Buffer): void {
    this.#offset += bytes.length;
    if (this.#part === 'length') {
      this.#lengthRead(bytes);
      return;
    }
    const padding = this.#part === 'padding' ? 0 : this.#length;
    if (!isZero(bytes, padding)) throw broken(`the padding before byte ${this.#offset} is not zero`);
    this.#enter(this.#part === 'padding' ? 'leaf' : this.#stringRead(bytes.subarray(0, this.#length)));
  }

  #lengthRead(bytes: Buffer): void {
    this.#length = bytes.readUInt32LE(4) * 2 ** 32 + bytes.readUInt32LE(0);
    if (this.#place === 'contents') {
      this.#expectContents();
      return;
    }
    const { what, limit } = STRING_LIMITS[this.#place] ?? KEYWORD_LIMIT;
    if (this.#length > limit) {
      throw broken(`a ${what} before byte ${this.#offset} has ${this.#length} bytes, more than ${limit}`);
    }
    if (this.#length === 0) {
      this.#enter(this.#stringRead(NO_BYTES));
      return;
    }
    this.#part = 'bytes';
    this.#need = this.#length + paddingBytes(this.#length);
  }

  #expectContents(): void {
    if (this.#length > Number.MAX_SAFE_INTEGER) {
      throw broken(`a file before byte ${this.#offset} has no possible size`);
    }
    this.#part = 'skip';
    this.#need = this.#length;
    if (this.#length === 0) this.#contentsRead();
  }

  #contentsRead(): void {
    this.#part = 'padding';
    this.#need = paddingBytes(this.#length);
    if (this.#need === 0) this.#enter('leaf');
  }

  /** Judges a string and tells the place behind it. */
  #stringRead(bytes: Buffer): Place {
    switch (this.#place) {
      case 'name':
        this.#checkName(bytes);
        return 'node-key';
      case 'target':
        if (bytes.length === 0 || bytes.includes(0)) {
          throw broken(`a symlink before byte ${this.#offset} has a bad target`);
        }
        return 'leaf';
      default:
        return this.#keywordRead(bytes.toString('latin1'));
    }
  }

  #keywordRead(word: string): Place {
    const words = KEYWORD_PLACES.get(this.#place);
    const next = words?.get(word);
    if (next === undefined) {
      const expected = [...(words?.keys() ?? [])].map(shown).join(' or ');
      throw broken(`expected ${expected} before byte ${this.#offset}, got ${shown(word)}`);
    }
    return this.#turn(next);
  }

  #turn(next: Next): Place {
    if (next === 'directory' && this.#place === 'kind') this.#names.push(undefined);
    if (next === 'child') {
      this.#depth++;
      if (this.#depth >= MAX_DEPTH) throw broken(`folders are nested deeper than ${MAX_DEPTH - 1}`);
      return 'node';
    }
    if (next !== 'leave') return next;
    if (this.#place === 'directory') this.#names.pop();
    if (this.#depth === 0) return 'end';
    this.#depth--;
    return 'entry-end';
  }

  #enter(place: Place): void {
    this.#place = place;
    this.#part = 'length';
    this.#need = 8;
  }

  #checkName(name: Buffer): void {
    const isDots = name.length <= 2 && name.every((byte) => byte === DOT);
    if (isDots || name.includes(0) || name.includes(SLASH)) {
      throw broken(`the name ${shown(name.toString('latin1'))} before byte ${this.#offset} is not allowed`);
    }
    const last = this.#names.length - 1;
    const previous = this.#names[last];
    if (previous !== undefined && previous.compare(name) >= 0) {
      throw broken(`the name ${shown(name.toString('latin1'))} before byte ${this.#offset} is out of order`);
    }
    this.#names[last] = Buffer.from(name);
  }
}

function broken(reason: string): FormatError {
  return new FormatError('NAR', reason);
}

function holds(bytes: Buffer, at: number, token: Buffer): boolean {
  if (bytes.length - at < token.length) return false;
  for (let i = 0; i < token.length; i++) if (bytes[at + i] !== token[i]) return false;
  return true;
}

function paddingBytes(length: number): number {
  return (8 - (length % 8)) % 8;
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Checks a whole NAR in memory. Throws {@link FormatError}. */
export function checkNar(nar: Uint8Array): void {
  const parser = new NarParser();
  parser.write(nar);
  parser.end();
}
