import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { buffers, PIECE_BYTES } from '../buffers/index.ts';
import type { ByteRange } from './storage.ts';

/** A stretch of an open file, which it closes. Its pieces lie in buffers that may be given back; one is read ahead. */
export class FileStream extends Readable {
  readonly #file: FileHandle;
  readonly #end: number;
  #at: number;

  constructor(file: FileHandle, { start, end }: ByteRange) {
    super({ highWaterMark: PIECE_BYTES });
    this.#file = file;
    this.#at = start;
    this.#end = end;
  }

  override _read(): void {
    const piece = buffers.take(Math.min(PIECE_BYTES, this.#end + 1 - this.#at));
    this.#file.read(piece, 0, piece.length, this.#at).then(
      ({ bytesRead }) => {
        if (bytesRead === 0 || this.destroyed) buffers.giveBack(piece);
        else this.push(piece.subarray(0, bytesRead));
        this.#at += bytesRead;
        // A file that ends early is its reader's business, who knows how much there should be.
        if (bytesRead === 0 || this.#at > this.#end) this.push(null);
      },
      (error: Error) => {
        buffers.giveBack(piece);
        this.destroy(error);
      },
    );
  }

  /** Closing waits for the read that runs. */
  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#file.close().then(
      () => callback(error),
      (failure: Error) => callback(error ?? failure),
    );
  }
}
