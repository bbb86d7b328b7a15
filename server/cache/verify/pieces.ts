/**
 * Bytes that are sent to the thread piece by piece: those of an object that lies on no disk of this machine. Each piece
 * is acknowledged when it is taken, so that the sender never runs far ahead.
 */
import type { VerifierFailure } from './errors.ts';

export class Pieces {
  readonly #queue: Buffer[] = [];
  readonly #onTaken: (bytes: number) => void;
  #head: Buffer = Buffer.alloc(0);
  #ended = false;
  #failure: VerifierFailure | undefined;
  #wake: (() => void) | undefined;

  /** @param onTaken hears how many bytes were taken in */
  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken;
  }

  push(piece: Uint8Array): void {
    this.#queue.push(Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength));
    this.#wake?.();
  }

  /** Nothing comes after what has been pushed; with a `failure` nobody gets any more of it. */
  end(failure?: VerifierFailure): void {
    this.#ended = true;
    this.#failure ??= failure;
    this.#wake?.();
  }

  /** The first `bytes` bytes or more; fewer where there are no more. `all` begins with them again. */
  async head(bytes: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let size = 0;
    while (size < bytes) {
      const piece = await this.#next();
      if (piece === undefined) break;
      pieces.push(piece);
      size += piece.length;
    }
    this.#head = Buffer.concat(pieces, size);
    return this.#head;
  }

  async *all(): AsyncGenerator<Buffer> {
    if (this.#head.length > 0) yield this.#head;
    for (let piece = await this.#next(); piece !== undefined; piece = await this.#next()) yield piece;
  }

  async #next(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const piece = this.#queue.shift();
      if (piece !== undefined) {
        this.#onTaken(piece.length);
        if (piece.length > 0) return piece;
        continue;
      }
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
