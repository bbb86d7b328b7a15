/**
 * JSON from strangers, checked while it comes in: pieces of any size, memory for one string and one frame for each level,
 * and time that grows with the bytes alone. `JSON.parse` would hold the thread for as long as a large text takes, and needs
 * many times its size.
 */
import { isUtf8 } from 'node:buffer';
import { FormatError } from './errors.ts';

/** What is found, in the order of the text. */
export interface JsonHandler {
  open(kind: 'object' | 'array'): void;
  close(): void;
  key(name: string): void;
  value(value: string | number | boolean | null): void;
}

export interface JsonLimits {
  /** Objects and arrays within each other. */
  readonly maxDepth: number;
  /** Bytes of one string as it stands in the text. Names and targets of links have at most 4095 bytes before escapes. */
  readonly maxStringBytes: number;
  /** Whether a string may hold bytes that are no UTF-8; it is told of as Latin-1 then. */
  readonly hasAnyBytes?: boolean;
}

const IGNORE: JsonHandler = { open() {}, close() {}, key() {}, value() {} };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;
const WORDS: ReadonlyMap<string, boolean | null> = new Map<string, boolean | null>([
  ['true', true],
  ['false', false],
  ['null', null],
]);
const MAX_WORD_BYTES = 64;

/** What may come next. */
type Expected = 'value' | 'value or end' | 'key' | 'key or end' | 'colon' | 'comma or end' | 'nothing';

/** Reads one JSON text. Throws {@link FormatError} that names `field` for what is none or beyond the limits. */
export class JsonReader {
  readonly #field: string;
  readonly #limits: JsonLimits;
  readonly #handler: JsonHandler;
  readonly #open: ('object' | 'array')[] = [];
  #expected: Expected = 'value';
  /** What the last piece ended within. */
  #within: 'string' | 'word' | undefined;
  #token: Buffer[] = [];
  #tokenBytes = 0;
  #isEscaped = false;

  constructor(field: string, limits: JsonLimits, handler: JsonHandler = IGNORE) {
    this.#field = field;
    this.#limits = limits;
    this.#handler = handler;
  }

  write(piece: Uint8Array): void {
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    let at = 0;
    while (at < bytes.length) {
      if (this.#within === 'string') at = this.#string(bytes, at);
      else if (this.#within === 'word') at = this.#word(bytes, at);
      else at = this.#begin(bytes, at);
    }
  }

  /** Nothing comes any more. */
  end(): void {
    if (this.#within === 'word') this.#endWord();
    if (this.#expected !== 'nothing') throw this.#wrong('it stops in the middle');
  }

  #wrong(trouble: string): FormatError {
    return new FormatError(this.#field, `${this.#field}: this is no JSON: ${trouble}`);
  }

  /** One byte outside of strings and words. */
  #begin(bytes: Buffer, at: number): number {
    const byte = bytes[at] ?? 0;
    switch (byte) {
      case 0x20:
      case 0x09:
      case 0x0a:
      case 0x0d:
        return at + 1;
      case 0x7b:
        this.#enter('object');
        return at + 1;
      case 0x5b:
        this.#enter('array');
        return at + 1;
      case 0x7d:
        this.#leave('object', 'key or end');
        return at + 1;
      case 0x5d:
        this.#leave('array', 'value or end');
        return at + 1;
      case 0x3a:
        this.#need('colon', ':');
        this.#expected = 'value';
        return at + 1;
      case 0x2c:
        this.#need('comma or end', ',');
        if (this.#open.length === 0) throw this.#wrong("a ',' behind its end");
        this.#expected = this.#open.at(-1) === 'object' ? 'key' : 'value';
        return at + 1;
      case QUOTE:
        if (!/^(value|key)/.test(this.#expected)) throw this.#wrong('a string where none belongs');
        this.#within = 'string';
        this.#take(bytes.subarray(at, at + 1), this.#limits.maxStringBytes);
        return at + 1;
      default:
        if (!this.#expected.startsWith('value')) throw this.#wrong('a character that does not belong there');
        this.#within = 'word';
        return at;
    }
  }

  #need(expected: Expected, sign: string): void {
    if (this.#expected !== expected) throw this.#wrong(`a '${sign}' where none belongs`);
  }

  #enter(kind: 'object' | 'array'): void {
    if (!this.#expected.startsWith('value')) throw this.#wrong(`an ${kind} where none belongs`);
    if (this.#open.length >= this.#limits.maxDepth)
      throw new FormatError(this.#field, `${this.#field}: nested deeper than ${this.#limits.maxDepth} levels`);
    this.#open.push(kind);
    this.#expected = kind === 'object' ? 'key or end' : 'value or end';
    this.#handler.open(kind);
  }

  #leave(kind: 'object' | 'array', whereEmpty: Expected): void {
    const mayEnd = this.#expected === 'comma or end' || this.#expected === whereEmpty;
    if (!mayEnd || this.#open.at(-1) !== kind) throw this.#wrong(`the end of an ${kind} where none belongs`);
    this.#open.pop();
    this.#afterValue();
    this.#handler.close();
  }

  #afterValue(): void {
    this.#expected = this.#open.length === 0 ? 'nothing' : 'comma or end';
  }

  #take(bytes: Buffer, maxBytes: number): void {
    this.#tokenBytes += bytes.length;
    if (this.#tokenBytes > maxBytes)
      throw new FormatError(this.#field, `${this.#field}: a string or number of more than ${maxBytes} bytes`);
    // Copied: what it is a part of may be reused.
    this.#token.push(Buffer.from(bytes));
  }

  #taken(): Buffer {
    const [only] = this.#token;
    const token = this.#token.length === 1 && only !== undefined ? only : Buffer.concat(this.#token);
    this.#token = [];
    this.#tokenBytes = 0;
    this.#within = undefined;
    return token;
  }

  #string(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at++];
      if (this.#isEscaped) this.#isEscaped = false;
      else if (byte === BACKSLASH) this.#isEscaped = true;
      else if (byte === QUOTE) {
        this.#take(bytes.subarray(from, at), this.#limits.maxStringBytes);
        this.#endString(this.#taken());
        return at;
      }
    }
    this.#take(bytes.subarray(from, at), this.#limits.maxStringBytes);
    return at;
  }

  #endString(token: Buffer): void {
    const isText = isUtf8(token);
    const text =
      isText || this.#limits.hasAnyBytes ? parseString(token.toString(isText ? 'utf8' : 'latin1')) : undefined;
    if (text === undefined) throw this.#wrong('a string that is not well formed');
    if (this.#expected.startsWith('key')) {
      this.#expected = 'colon';
      this.#handler.key(text);
      return;
    }
    this.#afterValue();
    this.#handler.value(text);
  }

  #word(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length && isWordByte(bytes[at] ?? 0)) at++;
    this.#take(bytes.subarray(from, at), MAX_WORD_BYTES);
    if (at < bytes.length) this.#endWord();
    return at;
  }

  #endWord(): void {
    const text = this.#taken().toString('latin1');
    const word = WORDS.get(text);
    if (word === undefined && !NUMBER.test(text)) throw this.#wrong('a value that is neither text nor number');
    this.#afterValue();
    this.#handler.value(word === undefined ? Number(text) : word);
  }
}

/** A whole JSON text as a value. Throws {@link FormatError} as {@link JsonReader} does. */
export function parseJson(field: string, bytes: Uint8Array, limits: JsonLimits): unknown {
  const reader = new JsonReader(field, limits);
  reader.write(bytes);
  reader.end();
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
}

/** A JSON object. Throws {@link FormatError}. */
export function parseJsonObject(field: string, bytes: Uint8Array, limits: JsonLimits): Record<string, unknown> {
  if (bytes.length === 0) throw new FormatError(field, `${field}: the body is empty`);
  const value = parseJson(field, bytes, limits);
  if (!isJsonObject(value)) throw new FormatError(field, `${field}: expected a JSON object`);
  return value;
}

export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseString(token: string): string | undefined {
  try {
    const text: unknown = JSON.parse(token);
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Letters, digits and signs: what numbers, `true`, `false` and `null` are made of. */
function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e ||
    byte === 0x45
  );
}
