/**
 * The body of a missing-paths query, `["<hash>","<hash>"]`, read as it arrives. A general parser of JSON would hold the thread
 * for as long as a stranger likes; here each piece costs what it has bytes, and the first wrong byte ends it.
 */
import { CacheError } from '../cache/index.ts';

/** Of one text between quotes. A hash has 32; what is none counts as missing, letter by letter, up to here. */
const MAX_TEXT_BYTES = 64;

const [QUOTE, COMMA, OPEN, CLOSE, BACKSLASH] = [0x22, 0x2c, 0x5b, 0x5d, 0x5c];

type State = 'begin' | 'first' | 'next' | 'text' | 'behind' | 'end';

export class HashList {
  readonly #maxCount: number;
  readonly #hashes: string[] = [];
  readonly #text = Buffer.alloc(MAX_TEXT_BYTES);
  #length = 0;
  #state: State = 'begin';

  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  /** @throws CacheError Invalid, TooLarge */
  write(piece: Uint8Array): void {
    for (const byte of piece) {
      if (this.#state === 'text') this.#inText(byte);
      else if (!isSpace(byte)) this.#state = this.#following(byte);
    }
  }

  /** What was listed, in order. @throws CacheError Invalid where the list does not end */
  end(): string[] {
    if (this.#state !== 'end')
      throw new CacheError(
        'Invalid',
        `the list of hashes is cut off: it has no end behind ${this.#hashes.length} of them`,
      );
    return this.#hashes;
  }

  #inText(byte: number): void {
    if (byte === QUOTE) {
      if (this.#hashes.length === this.#maxCount)
        throw new CacheError('TooLarge', `at most ${this.#maxCount} hashes in one query`);
      this.#hashes.push(this.#text.toString('utf8', 0, this.#length));
      this.#length = 0;
      this.#state = 'behind';
      return;
    }
    // No hash needs an escape.
    if (byte < 0x20 || byte === BACKSLASH || this.#length === MAX_TEXT_BYTES) throw wrong();
    this.#text[this.#length++] = byte;
  }

  #following(byte: number): State {
    switch (this.#state) {
      case 'begin':
        if (byte === OPEN) return 'first';
        break;
      case 'first':
        if (byte === CLOSE) return 'end';
        if (byte === QUOTE) return 'text';
        break;
      case 'next':
        if (byte === QUOTE) return 'text';
        break;
      case 'behind':
        if (byte === COMMA) return 'next';
        if (byte === CLOSE) return 'end';
        break;
      case 'text':
      case 'end':
    }
    throw wrong();
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function wrong(): CacheError {
  return new CacheError('Invalid', 'expected a JSON list of store path hashes');
}
