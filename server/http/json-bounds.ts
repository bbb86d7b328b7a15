/**
 * Looks at a JSON object while it arrives, before a parser does: how deep it is nested and how many values it has decides
 * how long that parser holds the thread.
 */
import { CacheError } from '../cache/index.ts';

const MAX_DEPTH = 8;
/** 10 000 parts of two fields each, and the references of a path. */
const MAX_VALUES = 100_000;

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c];
const [BRACKET, BRACE, BRACKET_END, BRACE_END] = [0x5b, 0x7b, 0x5d, 0x7d];

export class JsonBounds {
  #depth = 0;
  #values = 0;
  #hasBegun = false;
  #isText = false;
  #isEscaped = false;

  /** @throws CacheError Invalid, TooLarge */
  write(piece: Uint8Array): void {
    for (const byte of piece) {
      if (this.#isText) this.#inText(byte);
      else this.#outside(byte);
    }
  }

  #inText(byte: number): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === BACKSLASH) this.#isEscaped = true;
    else if (byte === QUOTE) this.#isText = false;
  }

  #outside(byte: number): void {
    // Spaces are what is below.
    if (!this.#hasBegun && byte > 0x20) {
      if (byte !== BRACE) throw new CacheError('Invalid', 'expected a JSON object');
      this.#hasBegun = true;
    }
    switch (byte) {
      case QUOTE:
        this.#isText = true;
        return;
      case COMMA:
        if (++this.#values > MAX_VALUES)
          throw new CacheError('TooLarge', `more than ${MAX_VALUES} values in one JSON text`);
        return;
      case BRACKET:
      case BRACE:
        if (++this.#depth > MAX_DEPTH) throw new CacheError('Invalid', `JSON that is nested deeper than ${MAX_DEPTH}`);
        return;
      case BRACKET_END:
      case BRACE_END:
        this.#depth--;
    }
  }
}
