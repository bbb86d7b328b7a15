/** The sender's end of a verification whose bytes are sent piece by piece. */
import type { Facts } from './facts.ts';
import type { Claim } from './messages.ts';
import type { WorkerSlot } from './worker-pool.ts';

/** Bytes on their way to the thread, beyond which `write` waits. */
const WINDOW_BYTES = 1024 * 1024;

export class StreamVerification {
  readonly #id: number;
  readonly #slot: WorkerSlot;
  readonly #onVerdict: ((milliseconds: number) => void) | undefined;
  readonly #outcome = Promise.withResolvers<Facts>();
  /** Bytes that were written. */
  #size = 0;
  #underWay = 0;
  #wake: (() => void) | undefined;
  #isOver = false;

  constructor(id: number, slot: WorkerSlot, onVerdict: ((milliseconds: number) => void) | undefined) {
    this.#id = id;
    this.#slot = slot;
    this.#onVerdict = onVerdict;
    // The outcome may be there before anybody asks for it.
    this.#outcome.promise.catch(() => {});
  }

  /**
   * Sends a piece, which is copied; resolves when there is room for the next one. What comes after a verdict is
   * dropped: `finish` tells of it.
   */
  async write(piece: Uint8Array): Promise<void> {
    this.#size += piece.length;
    if (this.#isOver) return;
    this.#underWay += piece.length;
    // A view would be sent with the whole buffer that it looks at.
    const bytes = new Uint8Array(piece);
    this.#slot.send({ type: 'piece', id: this.#id, bytes }, [bytes.buffer]);
    while (this.#underWay > WINDOW_BYTES && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** All has been written. Rejects with `VerifyError` or `VerifierFailure`, as the verification of a file does. */
  finish(claim: Omit<Claim, 'fileSize'> = {}): Promise<Facts> {
    const start = performance.now();
    const over = () => this.#onVerdict?.(performance.now() - start);
    this.#outcome.promise.then(over, over);
    if (!this.#isOver) this.#slot.send({ type: 'finish', id: this.#id, claim: { ...claim, fileSize: this.#size } });
    return this.#outcome.promise;
  }

  /** Gives up; resolves when the thread has let go. */
  async cancel(): Promise<void> {
    if (!this.#isOver) this.#slot.send({ type: 'cancel', id: this.#id });
    await this.#outcome.promise.catch(() => {});
  }

  /** For the verifier: the thread has taken in so many bytes. */
  taken(bytes: number): void {
    this.#underWay -= bytes;
    this.#wake?.();
  }

  /** For the verifier: the verdict. */
  settle(facts: Facts): void {
    this.#end();
    this.#outcome.resolve(facts);
  }

  /** For the verifier: the bytes are bad, or nothing can be said of them. */
  fail(error: Error): void {
    this.#end();
    this.#outcome.reject(error);
  }

  #end(): void {
    this.#isOver = true;
    this.#slot.release(this.#id);
    this.#wake?.();
  }
}
