/**
 * Buffers for reads of files. A new one for each piece of a large NAR costs new pages of the kernel each time, and its
 * collector more (of 1 GiB: a third of the processor time without either). So who has sent a piece gives it back, and it
 * is filled again. Giving back is no duty: what nobody gives back is collected as any buffer is.
 */
const KIB = 1024;

/** Larger reads than Node's 64 KiB: fewer trips through the thread pool, and smaller than the caches of a processor. */
export const PIECE_BYTES = 512 * KIB;
/** Below it memory that is new costs less than the look for one that is old. */
const LEAST_BYTES = 32 * KIB;
/** What is kept for those to come: the pieces of eight large reads, or 64 small NARs. */
const KEPT_BYTES = 8 * 1024 * KIB;

export class ReadBuffers {
  readonly #mostBytes: number;
  /** By their size, a power of two. */
  readonly #free = new Map<number, ArrayBuffer[]>();
  /** Those that somebody has; what is not in here is not ours, or has been given back. */
  readonly #taken = new WeakSet<ArrayBufferLike>();
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
    if (memory === undefined) memory = Buffer.allocUnsafeSlow(whole).buffer;
    else this.#keptBytes -= whole;
    this.#taken.add(memory);
    return Buffer.from(memory, 0, size);
  }

  /**
   * Nobody looks at these bytes any more, nor does the kernel: they are overwritten soon. What was not taken here, or was
   * given back before, stays as it is.
   */
  giveBack({ buffer: memory }: Uint8Array): void {
    if (!this.#taken.delete(memory) || !(memory instanceof ArrayBuffer)) return;
    if (this.#keptBytes + memory.byteLength > this.#mostBytes) return;
    const free = this.#free.get(memory.byteLength) ?? [];
    this.#free.set(memory.byteLength, free);
    free.push(memory);
    this.#keptBytes += memory.byteLength;
  }
}

/** Those of the process. */
export const readBuffers = new ReadBuffers(KEPT_BYTES);
