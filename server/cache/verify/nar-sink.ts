import * as crypto from 'node:crypto';
import { isNarStart, NarParser, SNIFF_BYTES } from '../../nix/index.ts';
import { VerifyError } from './errors.ts';

/** Hashes and checks a NAR that comes in chunks, and stops it where it gets too long. */
export class NarSink {
  /** Bytes taken so far. */
  size = 0;
  /** May be lowered when the claim comes in. */
  limit: SizeLimit;
  #head: Buffer = Buffer.alloc(0);
  readonly #hash = crypto.createHash('sha256');
  readonly #parser = new NarParser();

  constructor(limit: SizeLimit) {
    this.limit = limit;
  }

  /** Whether it begins as every NAR does, by what has come so far. */
  get isNar(): boolean {
    return isNarStart(this.#head);
  }

  /** Throws `VerifyError` (too-large) or `FormatError`. The chunk may be reused afterwards. */
  write(chunk: Buffer): void {
    if (this.size < SNIFF_BYTES) this.#head = Buffer.concat([this.#head, chunk.subarray(0, SNIFF_BYTES)]);
    this.size += chunk.length;
    this.limit.check(this.size);
    this.#parser.write(chunk);
    this.#hash.update(chunk);
  }

  /** The hex SHA-256. Throws `FormatError` when the NAR is not complete, `VerifyError` when it is too long. */
  end(): string {
    // The claim may have come in after the last byte.
    this.limit.check(this.size);
    this.#parser.end();
    return this.#hash.digest('hex');
  }
}

/** How long a NAR may be: as long as claimed where a claim is known, and never longer than the server allows. */
export class SizeLimit {
  /** The first forbidden size is one byte above. */
  readonly bytes: number;
  readonly #isClaim: boolean;

  constructor(maxNarSize: number, claimedNarSize: number | undefined) {
    this.#isClaim = claimedNarSize !== undefined && claimedNarSize <= maxNarSize;
    this.bytes = Math.min(maxNarSize, claimedNarSize ?? maxNarSize);
  }

  check(size: number): void {
    if (size > this.bytes) throw this.error();
  }

  error(): VerifyError {
    const reason = this.#isClaim ? `its NarSize of ${this.bytes} bytes` : `${this.bytes} bytes, the limit`;
    return new VerifyError('too-large', `the NAR is larger than ${reason}`);
  }
}
