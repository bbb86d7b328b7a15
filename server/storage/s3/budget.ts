/**
 * Memory for bytes on their way to S3, shared by all storages of the process. What asks for more than there is waits;
 * nobody who holds some waits for more, so that those who wait are always served in the end.
 */
export class ByteBudget {
  readonly #total: number;
  readonly #waiting: { bytes: number; start: () => void }[] = [];
  #free: number;

  constructor(totalBytes: number) {
    this.#total = totalBytes;
    this.#free = totalBytes;
  }

  /** Bytes that are held. */
  get held(): number {
    return this.#total - this.#free;
  }

  /** Resolves when `bytes` are there, with what gives them back. More than all counts as all. */
  async take(bytes: number): Promise<() => void> {
    const wanted = Math.min(bytes, this.#total);
    if (this.#waiting.length > 0 || this.#free < wanted)
      await new Promise<void>((resolve) => this.#waiting.push({ bytes: wanted, start: resolve }));
    else this.#free -= wanted;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#free += wanted;
      this.#serve();
    };
  }

  #serve(): void {
    for (let next = this.#waiting[0]; next !== undefined && next.bytes <= this.#free; next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= next.bytes;
      next.start();
    }
  }
}
