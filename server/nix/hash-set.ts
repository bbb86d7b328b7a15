/** A set of hash parts in memory: 21 bytes for each slot of a table whose size is a power of two. */

import { randomInt } from 'node:crypto';
import { mixWords, readHashPart, WORDS } from './hash-words.ts';

const EMPTY = 0;

export class HashSet {
  #slots: number;
  #keys: Uint32Array;
  /** Per slot: 0 empty, else 1. Apart from the keys, since an all-zero hash is a legal key. */
  #taken: Uint8Array;
  #size = 0;
  readonly #probe = new Uint32Array(WORDS);
  readonly #seed = randomInt(2 ** 31);

  constructor(expected = 1024) {
    this.#slots = 2 ** Math.ceil(Math.log2(Math.max(16, expected * 1.5)));
    this.#keys = new Uint32Array(this.#slots * WORDS);
    this.#taken = new Uint8Array(this.#slots);
  }

  get size(): number {
    return this.#size;
  }

  /** Whether `hashPart` is in the set; text that is no hash part is not. */
  has(hashPart: string): boolean {
    return hashPart.length === 32 && readHashPart(hashPart, 0, this.#probe) && this.#taken[this.#find()] !== EMPTY;
  }

  /** Adds the hash part that begins at `offset` of `text`: pages of hashes arrive as one long string. */
  add(text: string, offset = 0): void {
    // Before the probe is read: growing uses it too.
    if (this.#size * 3 > this.#slots * 2) this.#grow();
    if (!readHashPart(text, offset, this.#probe)) return;
    const slot = this.#find();
    if (this.#taken[slot] !== EMPTY) return;
    this.#taken[slot] = 1;
    this.#keys.set(this.#probe, slot * WORDS);
    this.#size++;
  }

  /** Removes a hash part; fine for one that is not there. */
  remove(hashPart: string): void {
    if (hashPart.length !== 32 || !readHashPart(hashPart, 0, this.#probe)) return;
    let hole = this.#find();
    if (this.#taken[hole] === EMPTY) return;
    const mask = this.#slots - 1;
    // A look-up stops at the first empty slot: keys behind the hole that were led past it move up.
    for (let slot = (hole + 1) & mask; this.#taken[slot] !== EMPTY; slot = (slot + 1) & mask) {
      this.#probe.set(this.#keys.subarray(slot * WORDS, slot * WORDS + WORDS));
      if (((slot - this.#home()) & mask) < ((slot - hole) & mask)) continue;
      this.#keys.set(this.#probe, hole * WORDS);
      hole = slot;
    }
    this.#taken[hole] = EMPTY;
    this.#size--;
  }

  /** The slot where the search for the probe's key begins. */
  #home(): number {
    return mixWords(this.#probe, this.#seed) & (this.#slots - 1);
  }

  /** The slot of the probe's key, or the empty one where it would go. */
  #find(): number {
    const [a, b, c, d, e] = [this.#probe[0], this.#probe[1], this.#probe[2], this.#probe[3], this.#probe[4]];
    const mask = this.#slots - 1;
    const keys = this.#keys;
    for (let slot = this.#home(); ; slot = (slot + 1) & mask) {
      if (this.#taken[slot] === EMPTY) return slot;
      const at = slot * WORDS;
      if (keys[at] === a && keys[at + 1] === b && keys[at + 2] === c && keys[at + 3] === d && keys[at + 4] === e)
        return slot;
    }
  }

  #grow(): void {
    const [keys, taken, slots] = [this.#keys, this.#taken, this.#slots];
    this.#slots *= 2;
    this.#keys = new Uint32Array(this.#slots * WORDS);
    this.#taken = new Uint8Array(this.#slots);
    for (let old = 0; old < slots; old++) {
      if (taken[old] === EMPTY) continue;
      this.#probe.set(keys.subarray(old * WORDS, old * WORDS + WORDS));
      const slot = this.#find();
      this.#taken[slot] = 1;
      this.#keys.set(this.#probe, slot * WORDS);
    }
  }
}
