/**
 * A body on its way to S3, under the name that it keeps. Small ones go with one request while they are still in memory;
 * larger ones in parts, of which the service makes an object at the end. Nothing lies on a disk of this machine.
 */
import { createHash } from 'node:crypto';
import { buffers } from '../../buffers/index.ts';
import { crashPoint } from '../crash-point.ts';
import { UploadGoneError } from '../errors.ts';
import type { Staged, WriteOptions } from '../storage.ts';
import type { Bucket } from './bucket.ts';
import type { ByteBudget } from './budget.ts';

const MIB = 2 ** 20;
/** Bodies up to this size go with one request. */
const PART_BYTES = 8 * MIB;
/** Where nobody said how much will come. 10 000 parts of one size (R2 wants one size) must hold the largest NAR. */
const UNKNOWN_PART_BYTES = 32 * MIB;
/** S3 takes 10 000 parts. */
const MOST_PARTS = 9_000;

export interface S3StagedInit {
  readonly bucket: Bucket;
  readonly budget: ByteBudget;
  readonly name: string;
  readonly key: string;
  readonly declaredBytes: number | undefined;
  /** Notes that bytes may come to lie under the name, before any do. */
  readonly onBegin: () => Promise<void>;
  /** Whatever lies under the name is to be removed. */
  readonly onDiscard: () => void;
  /** Repeats a request for as long as a push may wait. */
  readonly withRetries: <T>(work: () => Promise<T>) => Promise<T>;
}

export class S3Staged implements Staged {
  readonly file = undefined;
  readonly #init: S3StagedInit;
  #state: 'new' | 'begun' | 'written' | 'gone' = 'new';

  constructor(init: S3StagedInit) {
    this.#init = init;
  }

  async write(body: AsyncIterable<Uint8Array>, { onWritten }: WriteOptions = {}): Promise<number> {
    if (this.#state !== 'new') throw new Error('a body for S3 is written by one call');
    const { bucket, budget, key, declaredBytes } = this.#init;
    const partBytes = partSize(declaredBytes);
    const release = await budget.take(Math.min(declaredBytes ?? partBytes, partBytes));
    this.#state = 'begun';
    const begun = this.#init.onBegin();
    begun.catch(() => {});
    try {
      const chunks = new Chunks(body);
      const first = await chunks.next(partBytes);
      await begun;
      if (!chunks.isOver) return await this.#writeParts(first, chunks, partBytes, release, onWritten);
      crashPoint('half-written');
      await bucket.put(key, first);
      crashPoint('before-sync');
      onWritten?.(first.size);
      first.giveBack();
      this.#state = 'written';
      return first.size;
    } finally {
      release();
    }
  }

  /** Parts of one size; while one goes out the next one is gathered. */
  async #writeParts(
    first: Chunk,
    chunks: Chunks,
    partBytes: number,
    releaseFirst: () => void,
    onWritten: ((end: number) => void) | undefined,
  ): Promise<number> {
    const { bucket, budget, key, withRetries } = this.#init;
    const id = await withRetries(() => bucket.createUpload(key));
    const parts: { number: number; etag: string }[] = [];
    let end = 0;
    let release = releaseFirst;
    let sending: Promise<void> = Promise.resolve();
    const send = async (chunk: Chunk, free: () => void) => {
      const part = { number: parts.length + 1, etag: '' };
      parts.push(part);
      end += chunk.size;
      // From here on the body stays with this storage, so nobody else needs to hold its bytes.
      onWritten?.(end);
      chunk.giveBack();
      try {
        part.etag = await withRetries(() => bucket.putPart(key, id, part.number, chunk));
      } finally {
        free();
      }
      crashPoint('half-written');
    };
    try {
      for (let chunk = first; chunk.size > 0; chunk = await chunks.next(partBytes)) {
        await sending;
        sending = send(chunk, release);
        // Awaited in the next round; until then a failure must not count as unhandled.
        sending.catch(() => {});
        // What is held goes out by itself, so nobody who waits here waits for good.
        release = await budget.take(partBytes, { goesOn: true });
      }
      await sending;
      crashPoint('before-sync');
      await withRetries(() => this.#join(id, parts, end));
      this.#state = 'written';
      return end;
    } catch (error) {
      await sending.catch(() => {});
      throw error;
    } finally {
      release();
    }
  }

  async #join(id: string, parts: readonly { number: number; etag: string }[], size: number): Promise<void> {
    const { bucket, key } = this.#init;
    try {
      await bucket.completeUpload(key, id, parts);
    } catch (error) {
      // An earlier try may have done it, and only its answer was lost.
      if (!(error instanceof UploadGoneError) || (await bucket.head(key)) !== size) throw error;
    }
  }

  async commit(size?: number): Promise<string> {
    if (this.#state !== 'written') throw new Error(`nothing was written to ${this.#init.name}`);
    if (size !== undefined) throw new Error('an object in S3 cannot be cut off');
    return this.#init.name;
  }

  async close(): Promise<void> {}

  async discard(): Promise<void> {
    const state = this.#state;
    this.#state = 'gone';
    // The service may be what failed: whoever sent the bytes need not wait until they are removed.
    if (state === 'begun' || state === 'written') this.#init.onDiscard();
  }
}

interface Chunk {
  readonly body: Buffer;
  readonly size: number;
  /** Base64. */
  readonly md5: string;
  /** The pieces that it was made of: nobody would send them elsewhere any more. */
  readonly giveBack: () => void;
}

/** A body in chunks of the size that is asked for, to the byte. */
class Chunks {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array | undefined;
  /** Whether nothing comes any more; known once a chunk was shorter than asked for, or one more was looked for. */
  isOver = false;

  constructor(body: AsyncIterable<Uint8Array>) {
    this.#source = body[Symbol.asyncIterator]();
  }

  /** The next `bytes` bytes, fewer at the end. Hashed as they come: 8 MiB in one go would hold up everything for 15 ms. */
  async next(bytes: number): Promise<Chunk> {
    const pieces: Uint8Array[] = [];
    const md5 = createHash('md5');
    let size = 0;
    while (size < bytes) {
      const piece = this.#rest ?? (await this.#read());
      if (piece === undefined) break;
      const used = piece.subarray(0, bytes - size);
      this.#rest = used.length < piece.length ? piece.subarray(used.length) : undefined;
      pieces.push(used);
      md5.update(used);
      size += used.length;
    }
    if (size === bytes) this.#rest ??= await this.#read();
    const giveBack = () => {
      for (const piece of pieces) buffers.giveBack(piece);
    };
    return { body: Buffer.concat(pieces, size), size, md5: md5.digest('base64'), giveBack };
  }

  async #read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.isOver) return undefined;
      const next = await this.#source.next();
      if (next.done === true) this.isOver = true;
      else if (next.value.length > 0) return next.value;
    }
  }
}

function partSize(declaredBytes: number | undefined): number {
  if (declaredBytes === undefined) return UNKNOWN_PART_BYTES;
  return Math.max(PART_BYTES, Math.ceil(declaredBytes / MOST_PARTS / MIB) * MIB);
}
