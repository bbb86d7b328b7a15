/**
 * Memory for bodies that pass by, filled again once what it held is written: a new buffer for each piece would be V8's to
 * collect, which takes longer than passing the piece on.
 */

/** A read of a socket takes as much as there is, so large ones mean few of them. */
const BYTES = 256 * 1024;
/** Out at one time, 24 MiB. Whoever comes then takes the slower way. */
const MOST = 96;
/** Kept while nobody uses them. */
const KEPT = 16;

export class Buffers {
  readonly #free: Buffer[] = [];
  #out = 0;

  /** Undefined: all are in use. */
  take(): Buffer | undefined {
    if (this.#out === MOST) return undefined;
    this.#out++;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BYTES);
  }

  /** @param isIdle whether nobody reads or writes it any more */
  giveBack(buffer: Buffer, isIdle: boolean): void {
    this.#out--;
    if (isIdle && this.#free.length < KEPT) this.#free.push(buffer);
  }
}
