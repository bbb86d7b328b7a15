/** Numbers for hash parts, in the order in which they come: 20 bytes each, and 4 for each slot of a table of a power of two. */
import { randomInt } from 'node:crypto';
import { mixWords, readHashPart, WORDS, writeHashPart } from './hash-words.ts';

export class HashIndex {
  #keys: Uint32Array;
  /** Number + 1; 0: empty. */
  #slots: Int32Array;
  #size = 0;
  readonly #probe = new Uint32Array(WORDS);
  readonly #seed = randomInt(2 ** 31);

  constructor(expected = 1024) {
    const most = Math.max(16, expected);
    this.#keys = new Uint32Array(most * WORDS);
    this.#slots = new Int32Array(slotsFor(most));
  }

  get size(): number {
    return this.#size;
  }

  /** The number of the hash part that begins at `offset`; a new one where it has none. -1: it is no hash part. */
  add(text: string, offset = 0): number {
    if (!readHashPart(text, offset, this.#probe)) return -1;
    let slot = this.#find();
    const known = this.#slots[slot] ?? 0;
    if (known !== 0) return known - 1;
    if ((this.#size + 1) * WORDS > this.#keys.length || this.#size * 3 > this.#slots.length * 2) {
      this.#grow();
      readHashPart(text, offset, this.#probe);
      slot = this.#find();
    }
    this.#keys.set(this.#probe, this.#size * WORDS);
    this.#slots[slot] = ++this.#size;
    return this.#size - 1;
  }

  /** The number of a hash part; -1: it has none. */
  get(text: string, offset = 0): number {
    return readHashPart(text, offset, this.#probe) ? (this.#slots[this.#find()] ?? 0) - 1 : -1;
  }

  /** The hash part of a number. */
  textOf(number: number): string {
    return writeHashPart(this.#keys, number * WORDS);
  }

  #find(): number {
    const [a, b, c, d, e] = [this.#probe[0], this.#probe[1], this.#probe[2], this.#probe[3], this.#probe[4]];
    const mask = this.#slots.length - 1;
    const keys = this.#keys;
    for (let slot = mixWords(this.#probe, this.#seed) & mask; ; slot = (slot + 1) & mask) {
      const number = this.#slots[slot] ?? 0;
      if (number === 0) return slot;
      const at = (number - 1) * WORDS;
      if (keys[at] === a && keys[at + 1] === b && keys[at + 2] === c && keys[at + 3] === d && keys[at + 4] === e)
        return slot;
    }
  }

  #grow(): void {
    const keys = new Uint32Array(Math.ceil(this.#size * 1.5) * WORDS + WORDS);
    keys.set(this.#keys.subarray(0, this.#size * WORDS));
    this.#keys = keys;
    const slots = slotsFor(keys.length / WORDS);
    if (slots === this.#slots.length) return;
    this.#slots = new Int32Array(slots);
    for (let number = 0; number < this.#size; number++) {
      this.#probe.set(keys.subarray(number * WORDS, number * WORDS + WORDS));
      this.#slots[this.#find()] = number + 1;
    }
  }
}

function slotsFor(expected: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(16, expected * 1.5)));
}
