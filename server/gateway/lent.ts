/** Buffers for bodies that pass by, as many as may be out at one time; whoever comes then takes the slower way. */
import { Buffers } from '../buffers/index.ts';

/** A read of a socket takes as much as there is, so large ones mean few of them. */
const BYTES = 256 * 1024;
/** Out at one time, 24 MiB. */
const MOST = 96;
/** Kept while nobody uses them. */
const KEPT = 16;

export class Lent {
  readonly #buffers = new Buffers(KEPT * BYTES);
  #out = 0;

  /** Undefined: all are in use. */
  take(): Buffer | undefined {
    if (this.#out === MOST) return undefined;
    this.#out++;
    return this.#buffers.take(BYTES);
  }

  /** @param isIdle whether nobody reads or writes it any more */
  giveBack(buffer: Buffer, isIdle: boolean): void {
    this.#out--;
    if (isIdle) this.#buffers.giveBack(buffer);
  }
}
