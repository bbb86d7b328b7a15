/**
 * Memory of bodies. A new buffer for each piece of a large NAR costs new pages of the kernel, and the garbage collector
 * more (together three quarters of the processor time of a download); and what it has not collected yet is most of what a
 * server holds while many push. So whoever is the last to look at a piece gives it back: what was taken here is filled
 * again, what was adopted is freed at once. Giving back is no duty: what nobody gives back is collected as any buffer is.
 */
import { isMarkedAsUntransferable } from 'node:worker_threads';

const KIB = 1024;

/** Larger than Node's 64 KiB, for fewer trips through the thread pool, and smaller than a processor's caches. */
export const PIECE_BYTES = 512 * KIB;
/** Below it new memory costs less than a look for some that was used. */
const LEAST_BYTES = 32 * KIB;
/** What is kept for those to come: the pieces of eight large reads, or 64 small NARs. */
const KEPT_BYTES = 8 * 1024 * KIB;

export class Buffers {
  readonly #mostBytes: number;
  /** What waits to be taken, by its size, a power of two. */
  readonly #free = new Map<number, ArrayBuffer[]>();
  /** What somebody has, and what becomes of it. */
  readonly #inUse = new WeakMap<ArrayBufferLike, 'kept' | 'freed'>();
  #keptBytes = 0;

  /** @param mostBytes kept for later at most; how many are in use is the business of who takes them */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Bytes that wait to be taken. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** A buffer of `size` bytes with anything in it. */
  take(size: number): Buffer {
    if (size <= LEAST_BYTES || size > PIECE_BYTES) return Buffer.allocUnsafe(size);
    const whole = 2 ** Math.ceil(Math.log2(size));
    let memory = this.#free.get(whole)?.pop();
    if (memory === undefined) memory = new ArrayBuffer(whole);
    else this.#keptBytes -= whole;
    this.#inUse.set(memory, 'kept');
    return Buffer.from(memory, 0, size);
  }

  /**
   * Bytes that were made elsewhere. What else lies in their memory came before them, and is looked at before them: it is
   * freed with its last byte.
   */
  adopt({ buffer: memory }: Uint8Array): void {
    // What Node itself shares among many cannot be freed.
    if (memory.byteLength > LEAST_BYTES && !isMarkedAsUntransferable(memory)) this.#inUse.set(memory, 'freed');
  }

  /**
   * Nobody looks at these bytes any more, nor does the kernel. What was neither taken nor adopted, or was given back before,
   * stays as it is.
   */
  giveBack({ buffer: memory, byteOffset, length }: Uint8Array): void {
    const fate = this.#inUse.get(memory);
    if (fate === undefined || !(memory instanceof ArrayBuffer)) return;
    if (fate === 'freed' && byteOffset + length < memory.byteLength) return;
    this.#inUse.delete(memory);
    if (fate === 'freed') memory.transfer(0);
    else this.#keep(memory);
  }

  #keep(memory: ArrayBuffer): void {
    const size = memory.byteLength;
    if (this.#keptBytes + size > this.#mostBytes) return;
    const free = this.#free.get(size) ?? [];
    this.#free.set(size, free);
    free.push(memory);
    this.#keptBytes += size;
  }
}

/** Those of this thread. */
export const buffers = new Buffers(KEPT_BYTES);
