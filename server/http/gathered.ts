const FIRST_BYTES = 64 * 1024;

/**
 * Bytes that come in pieces, in one buffer. A list of the pieces would take what their sender likes: one of a single byte
 * costs a hundred times that.
 */
export class Gathered {
  readonly #most: number;
  #buffer: Buffer;
  #size = 0;

  /** @param most what is taken at most */
  constructor(most: number) {
    this.#most = most;
    this.#buffer = Buffer.allocUnsafe(Math.min(FIRST_BYTES, most));
  }

  /** Whether it fits. */
  add(piece: Uint8Array): boolean {
    const size = this.#size + piece.length;
    if (size > this.#most) return false;
    if (size > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.min(this.#most, Math.max(size, 2 * this.#buffer.length)));
      this.#buffer.copy(larger, 0, 0, this.#size);
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#size);
    this.#size = size;
    return true;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#size);
  }
}
