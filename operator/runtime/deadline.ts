/** A signal that follows its parent, and ends by itself after a time without {@link Deadline.extend}. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #parent: AbortSignal | undefined;
  readonly #end: () => void;
  #timer: NodeJS.Timeout;
  readonly #follow = () => this.#controller.abort(this.#parent?.reason);

  /** @param reason made when the time is over; what was aborted fails with it */
  constructor(parent: AbortSignal | undefined, ms: number, reason: () => Error) {
    this.#parent = parent;
    this.#end = () => this.#controller.abort(reason());
    this.#timer = setTimeout(this.#end, ms);
    if (parent?.aborted) this.#follow();
    else parent?.addEventListener('abort', this.#follow, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time begins anew, or another one does. */
  extend(ms?: number): void {
    if (ms === undefined) {
      this.#timer.refresh();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#end, ms);
  }

  /** Ends it now. */
  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** To be called in any case: parents live long, and would remember every request. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#parent?.removeEventListener('abort', this.#follow);
  }
}
