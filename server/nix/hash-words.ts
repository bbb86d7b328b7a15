/** Hash parts as numbers: 32 characters of 5 bits are 160 bits, five 32-bit words. */

export const WORDS = 5;
/** The value of each ASCII character of nix32; -1: it is none. */
const DIGITS = new Int8Array(128).fill(-1);
const ALPHABET = '0123456789abcdfghijklmnpqrsvwxyz';
for (const [value, digit] of [...ALPHABET].entries()) DIGITS[digit.charCodeAt(0)] = value;

/** Reads the 32 digits that begin at `offset` into `words`; false when they are not nix32. */
export function readHashPart(text: string, offset: number, words: Uint32Array): boolean {
  if (text.length < offset + 32) return false;
  // Words of 30 bits would be simpler, but 6 digits of 5 bits fill 30 of 32: pack 160 bits into five words exactly.
  let bits = 0;
  let held = 0;
  let word = 0;
  for (let i = offset; i < offset + 32; i++) {
    const digit = DIGITS[text.charCodeAt(i)] ?? -1;
    if (digit < 0) return false;
    const room = 32 - held;
    if (room > 5) {
      bits = (bits << 5) | digit;
      held += 5;
    } else {
      words[word++] = (bits << room) | (digit >>> (5 - room));
      held = 5 - room;
      bits = digit & ((1 << held) - 1);
    }
  }
  return true;
}

/** The text of the hash part whose words begin at `offset`. */
export function writeHashPart(words: Uint32Array, offset: number): string {
  let text = '';
  for (let bit = 0; bit < 160; bit += 5) {
    const [word, from] = [offset + (bit >>> 5), bit & 31];
    const [high = 0, low = 0] = [words[word], words[word + 1]];
    const digit = from <= 27 ? high >>> (27 - from) : (high << (from - 27)) | (low >>> (59 - from));
    text += ALPHABET[digit & 31];
  }
  return text;
}

/** Spreads words over all bits of a number, in an order that only who knows the seed can foresee. */
export function mixWords(words: Uint32Array, seed: number): number {
  const [a, b, c, d, e] = [words[0], words[1], words[2], words[3], words[4]];
  // Store paths may be named at will: all words count.
  let mixed = seed;
  mixed = Math.imul(mixed ^ (a ?? 0), 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ (b ?? 0), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13) ^ (c ?? 0), 0xc2b2ae35);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ (d ?? 0), 0x27d4eb2f);
  mixed = Math.imul(mixed ^ (mixed >>> 13) ^ (e ?? 0), 0x165667b1);
  return mixed ^ (mixed >>> 16);
}
