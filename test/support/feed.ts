/** A body that a test feeds, piece by piece. */

export interface Sending {
  send(bytes: Uint8Array): unknown;
  end(): void;
  break(): void;
}

/** Thrown by a feed that breaks. */
export class FeedError extends Error {
  override readonly name = 'FeedError';
}

const PIECE_BYTES = 64 * 1024;

export class Feed implements Sending, AsyncIterable<Uint8Array> {
  readonly #pieces: (Uint8Array | 'end' | 'break')[] = [];
  #wake: (() => void) | undefined;

  #push(piece: Uint8Array | 'end' | 'break'): void {
    this.#pieces.push(piece);
    this.#wake?.();
  }

  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) this.#push(bytes.subarray(at, at + PIECE_BYTES));
  }

  end(): void {
    this.#push('end');
  }

  break(): void {
    this.#push('break');
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece === 'end') return;
      if (piece === 'break') throw new FeedError('the connection was lost');
      if (piece !== undefined) yield piece;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
