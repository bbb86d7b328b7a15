/** The bytes of an object; where the connection breaks in the middle, they go on with a request for the rest. */
import { Readable } from 'node:stream';
import type { ByteRange } from '../storage.ts';

const MORE_TRIES = 4;

export class ResumingStream extends Readable {
  readonly #open: (range: ByteRange) => Promise<Readable>;
  readonly #end: number;
  #at: number;
  #source: Readable | undefined;
  #opening = false;
  #triesLeft = MORE_TRIES;

  /** @param first what `open(range)` has answered */
  constructor(first: Readable, range: ByteRange, open: (range: ByteRange) => Promise<Readable>) {
    super({ highWaterMark: 512 * 1024 });
    this.#open = open;
    this.#at = range.start;
    this.#end = range.end;
    this.#use(first);
  }

  override _read(): void {
    this.#source?.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source?.destroy();
    callback(error);
  }

  #use(source: Readable): void {
    this.#source = source;
    source.on('data', (piece: Buffer) => {
      if (this.#source !== source) return;
      this.#at += piece.length;
      this.#triesLeft = MORE_TRIES;
      if (!this.push(piece)) source.pause();
      if (this.#at > this.#end) this.push(null);
    });
    const over = (error?: Error) => {
      if (this.#source !== source || this.#at > this.#end || this.destroyed) return;
      this.#source = undefined;
      this.#resume(error ?? new Error('the connection ended before the object'));
    };
    source.once('error', over);
    source.once('close', () => over());
  }

  #resume(error: Error): void {
    if (this.#opening) return;
    if (this.#triesLeft-- === 0) {
      this.destroy(error);
      return;
    }
    this.#opening = true;
    this.#open({ start: this.#at, end: this.#end }).then(
      (source) => {
        this.#opening = false;
        if (this.destroyed) source.destroy();
        else this.#use(source);
      },
      (failure: Error) => {
        this.#opening = false;
        this.destroy(failure);
      },
    );
  }
}
