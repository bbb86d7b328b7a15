import { FormatError, shown } from './errors.ts';

/** Nix's digits: no `e`, `o`, `u`, `t`, so that no hash spells a word (src/libutil/base-nix-32.cc). */
export const NIX32_ALPHABET = '0123456789abcdfghijklmnpqrsvwxyz';

const DIGITS = Buffer.from(NIX32_ALPHABET, 'latin1');
const NOT_A_DIGIT = 255;
const VALUES = new Uint8Array(128).fill(NOT_A_DIGIT);
for (const [value, code] of DIGITS.entries()) VALUES[code] = value;

// Digests have at most 64 bytes (103 digits), and encoding is synchronous: one scratch buffer serves all.
const SCRATCH_DIGITS = 128;
const scratch = Buffer.alloc(SCRATCH_DIGITS);

/** The number of nix32 digits of `byteCount` bytes: 32 for 20 bytes, 52 for 32. */
export function nix32Length(byteCount: number): number {
  return Math.ceil((byteCount * 8) / 5);
}

/** Writes bytes as nix32: the last digit holds the lowest five bits of the first byte. */
export function encodeNix32(bytes: Uint8Array): string {
  const length = nix32Length(bytes.length);
  const out = length <= SCRATCH_DIGITS ? scratch : Buffer.alloc(length);
  let at = length;
  let bits = 0;
  let held = 0;
  for (let i = 0; i < bytes.length; i++) {
    held |= (bytes[i] ?? 0) << bits;
    bits += 8;
    while (bits >= 5) {
      out[--at] = DIGITS[held & 31] ?? 0;
      held >>>= 5;
      bits -= 5;
    }
  }
  if (at > 0) out[--at] = DIGITS[held & 31] ?? 0;
  return out.toString('latin1', 0, length);
}

/**
 * Reads nix32. Only the text that {@link encodeNix32} writes for the same bytes is taken: another digit, a length that
 * no byte count has, or a set bit beyond the last byte throws {@link FormatError}.
 */
export function decodeNix32(text: string): Buffer {
  const out = Buffer.alloc(Math.floor((text.length * 5) / 8));
  if (nix32Length(out.length) !== text.length) {
    throw new FormatError('nix32', `nix32 text cannot have ${text.length} digits`);
  }
  let at = 0;
  let bits = 0;
  let held = 0;
  for (let i = text.length - 1; i >= 0; i--) {
    const value = VALUES[text.charCodeAt(i)] ?? NOT_A_DIGIT;
    if (value === NOT_A_DIGIT) {
      throw new FormatError('nix32', `nix32 text has the character ${shown(text.charAt(i))}`);
    }
    held |= value << bits;
    bits += 5;
    if (bits >= 8) {
      out[at++] = held & 255;
      held >>>= 8;
      bits -= 8;
    }
  }
  if (held !== 0) throw new FormatError('nix32', 'nix32 text has bits set beyond its last byte');
  return out;
}
