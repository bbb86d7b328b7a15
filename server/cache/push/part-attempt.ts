/**
 * One try at sending a part. Its bytes may stop, and go on when another try has long brought the part in. So it can be cut
 * off at any moment, and whoever cuts it off waits until nothing of it is on its way to the disk any more.
 */
import { CacheError } from '../errors.ts';
import type { Body } from '../objects/index.ts';

export interface PartInit {
  readonly number: number;
  readonly size: number;
  /** Hex. */
  readonly md5: string;
}

export class PartAttempt {
  readonly claim: PartInit;
  readonly #landed = Promise.withResolvers<void>();
  #reason: CacheError | undefined;
  #interrupt: ((reason: CacheError) => void) | undefined;

  constructor(claim: PartInit) {
    this.claim = claim;
  }

  /** Why it was cut off, if it was. */
  get reason(): CacheError | undefined {
    return this.#reason;
  }

  /** Resolves when it writes no more. */
  get landed(): Promise<void> {
    return this.#landed.promise;
  }

  /** Ends its reading with `reason`; resolves when it writes no more. */
  cut(reason: CacheError): Promise<void> {
    this.#reason ??= reason;
    this.#interrupt?.(this.#reason);
    return this.#landed.promise;
  }

  /** It writes no more. */
  land(): void {
    this.#landed.resolve();
  }

  /** The bytes of its body, which must be as many as it announced. @throws CacheError Incomplete, the reason of a cut */
  async *read(body: Body): AsyncGenerator<Uint8Array> {
    const { number, size } = this.claim;
    const iterator = body[Symbol.asyncIterator]();
    let received = 0;
    for (;;) {
      const next = await this.#unlessCut(() => iterator.next());
      if (next.done === true) break;
      received += next.value.length;
      // Its neighbour's bytes begin there.
      if (received > size) break;
      yield next.value;
    }
    if (received !== size) throw new CacheError('Incomplete', `part ${number}: received ${received} of ${size} bytes`);
  }

  /** A promise that may never settle is left alone once this attempt is cut off. */
  #unlessCut<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) {
        reject(this.#reason);
        return;
      }
      this.#interrupt = reject;
      work().then(resolve, reject);
    });
  }
}
