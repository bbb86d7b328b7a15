/** The verdict on bytes: of a file that grows, of a body that passes by, of an object that a storage has. */

import { withRetries } from '../flow/index.ts';
import type { Incoming, Observer } from '../objects/index.ts';
import {
  type Claim,
  type Facts,
  type StreamVerification,
  type Verification,
  type Verifier,
  VerifierFailure,
  type VerifyRequest,
} from '../verify/index.ts';

/**
 * Waits for a verdict; where the verifier itself failed (a thread died, memory went to others), the bytes are verified
 * once more from their beginning, since a client that cannot repeat a PUT would be lost. Where there is no memory at all,
 * that is tried until `patienceMs` are over. @throws VerifyError, VerifierFailure
 */
export async function verified(
  first: () => Promise<Facts>,
  again: () => Promise<Facts>,
  patienceMs: number,
): Promise<Facts> {
  try {
    return await first();
  } catch (error) {
    if (!(error instanceof VerifierFailure) || error.code === 'cancelled') throw error;
    return withRetries(again, patienceMs);
  }
}

/** Sends all bytes of `body` to a thread. @throws VerifyError, VerifierFailure, and what the body throws */
export async function verifyBody(
  verifier: Verifier,
  request: Omit<VerifyRequest, 'file'>,
  body: AsyncIterable<Uint8Array>,
  claim: Omit<Claim, 'fileSize'> = {},
): Promise<Facts> {
  const stream = verifier.openStream(request);
  try {
    for await (const piece of body) await stream.write(piece);
  } catch (error) {
    await stream.cancel();
    throw error;
  }
  return stream.finish(claim);
}

/** A body that is verified on its way: behind the file that it goes to, or as it passes by. */
export class Arriving implements Observer {
  readonly #verifier: Verifier;
  readonly #request: Omit<VerifyRequest, 'file'>;
  readonly #file: Verification | undefined;
  readonly #stream: StreamVerification | undefined;
  readonly #patienceMs: number;
  readonly piece?: (piece: Uint8Array) => Promise<void>;

  /** @param patienceMs how long memory is waited for at the end */
  constructor(verifier: Verifier, request: Omit<VerifyRequest, 'file'>, file: string | undefined, patienceMs: number) {
    this.#verifier = verifier;
    this.#patienceMs = patienceMs;
    this.#request = request;
    if (file !== undefined) {
      this.#file = verifier.open({ ...request, file });
      return;
    }
    // Where they are put off they are read again, out of the storage.
    const stream = verifier.openStream({ ...request, isRepeatable: true });
    this.#stream = stream;
    this.piece = (piece) => stream.write(piece);
  }

  grow(end: number): void {
    this.#file?.grow(end);
  }

  async verdict(incoming: Incoming, claimed: Omit<Claim, 'fileSize'> = {}): Promise<Facts> {
    const { file } = incoming.staged;
    const claim = { ...claimed, fileSize: incoming.size };
    if (file === undefined) {
      const first = this.#stream?.finish(claimed) ?? Promise.reject(new Error('nothing was sent to the verifier'));
      return verified(
        () => first,
        () => verifyBody(this.#verifier, this.#request, incoming.read(), claimed),
        this.#patienceMs,
      );
    }
    const open = () => this.#verifier.open({ ...this.#request, file });
    return verified(
      () => (this.#file ?? open()).finish(claim),
      () => open().finish(claim),
      this.#patienceMs,
    );
  }

  async cancel(): Promise<void> {
    await this.#file?.cancel();
    await this.#stream?.cancel();
  }
}
