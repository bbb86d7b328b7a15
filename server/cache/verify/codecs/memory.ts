/**
 * Memory for the decoders of one thread. What a decoder needs stands at the beginning of its data and is chosen by whoever
 * sent it, so each asks before it takes. Where there is none left it waits, and what is complete goes first, since it ends
 * by itself; data that still comes in may take for ever, so it gives its memory back and begins again when it is complete.
 */
import { VerifierFailure } from '../errors.ts';

const MIB = 2 ** 20;
/** Memory of all decoders of a thread, unless told otherwise: 20 of `xz -6`, which nix writes, or two of `xz -9`. */
export const THREAD_BYTES = 192 * MIB;
/** What one decoder may ask for; `xz -9` needs 65 MiB, `zstd --ultra -22` 128. */
export const MAX_DECODER_BYTES = 129 * MIB;
/** What still comes in waits this long, and its sender with it, before it gives way until it is complete. */
export const PATIENCE_MS = 5_000;

export interface ShareInit {
  /** The data is all here, or nobody could begin with it again: it is never asked to give way. */
  readonly isUrgent: boolean;
  /** How long memory is waited for by what is not urgent. */
  readonly patienceMs: number;
  /** Makes its decoder let go of everything, soon. Undefined: it cannot be. */
  readonly onGiveWay?: () => void;
}

interface Waiter {
  readonly share: MemoryShare;
  readonly bytes: number;
  readonly grant: () => void;
}

/** The memory of one thread. Who gets it is decided anew whenever somebody asks, gives back, or becomes urgent. */
export class DecoderMemory {
  readonly #total: number;
  readonly #shares = new Set<MemoryShare>();
  #waiting: Waiter[] = [];
  #clock = 0;

  constructor(totalBytes = THREAD_BYTES) {
    this.#total = totalBytes;
  }

  /** A share for one decoder after the other; it holds nothing yet. */
  open(init: ShareInit): MemoryShare {
    return new MemoryShare(this, init);
  }

  /** Bytes that decoders hold now. */
  get heldBytes(): number {
    let sum = 0;
    for (const share of this.#shares) sum += share.heldBytes;
    return sum;
  }

  /** For shares: bytes are wanted on top of what is held. Resolves when they are there. */
  wait(share: MemoryShare, bytes: number): { readonly granted: Promise<void>; readonly leave: () => void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { share, bytes, grant: resolve };
    this.#waiting.push(waiter);
    this.settle();
    return {
      granted: promise,
      leave: () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiter);
        this.settle();
      },
    };
  }

  /** For shares: something has changed. */
  settle(): void {
    const urgent = this.#waiting.filter((waiter) => waiter.share.isUrgent);
    // Those that hold some first: what they hold comes back only when they get the rest.
    const isHolding = ({ share }: Waiter) => share.heldBytes > 0;
    for (const waiter of [...urgent.filter(isHolding), ...urgent.filter((other) => !isHolding(other))]) {
      if (this.#grant(waiter)) continue;
      this.#makeRoom(waiter.bytes);
      // Nobody overtakes: many small ones would keep a large one waiting for ever.
      return;
    }
    for (const waiter of this.#waiting.filter((other) => !other.share.isUrgent)) this.#grant(waiter);
  }

  #grant(waiter: Waiter): boolean {
    const { share, bytes } = waiter;
    const held = this.heldBytes;
    const fits = held + bytes <= this.#total;
    // One at a time may go beyond: two that each wait for what the other holds would wait for ever.
    const mayOverdraw = (share.heldBytes > 0 || bytes > this.#total) && held <= this.#total;
    if (!fits && !mayOverdraw) return false;
    this.#waiting = this.#waiting.filter((other) => other !== waiter);
    // Who goes beyond gets all that it may ever ask for, so that it never waits again.
    share.add(fits ? bytes : Math.max(bytes, MAX_DECODER_BYTES - share.heldBytes), this.#clock++);
    this.#shares.add(share);
    waiter.grant();
    return true;
  }

  /** Asks those that were idle for longest to give way, until there will be room for `bytes`. */
  #makeRoom(bytes: number): void {
    const shares = [...this.#shares].sort((a, b) => a.lastUsed - b.lastUsed);
    let held = shares.reduce((sum, share) => sum + (share.isLeaving ? 0 : share.heldBytes), 0);
    for (const share of shares) {
      if (held === 0 || held + bytes <= this.#total) return;
      if (!share.isLeaving && share.giveWay()) held -= share.heldBytes;
    }
  }

  /** For shares: this one was of use just now. */
  tick(): number {
    return this.#clock++;
  }

  /** For shares: it holds nothing any more. */
  drop(share: MemoryShare): void {
    if (this.#shares.delete(share)) this.settle();
  }
}

/** What the decoder of one file holds. `end` must follow, whatever happens. */
export class MemoryShare {
  readonly #memory: DecoderMemory;
  readonly #init: ShareInit;
  #heldBytes = 0;
  #isUrgent: boolean;
  #isLeaving = false;
  #lastUsed = 0;
  #failed: VerifierFailure | undefined;
  #fail: ((error: VerifierFailure) => void) | undefined;

  constructor(memory: DecoderMemory, init: ShareInit) {
    this.#memory = memory;
    this.#init = init;
    this.#isUrgent = init.isUrgent;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get isUrgent(): boolean {
    return this.#isUrgent;
  }

  /** Whether it was asked to give way. */
  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  get lastUsed(): number {
    return this.#lastUsed;
  }

  /**
   * Resolves when it holds at least `bytes`.
   * @throws VerifierFailure put-off (it waited for too long), cancelled
   */
  async hold(bytes: number): Promise<void> {
    const wanted = bytes - this.#heldBytes;
    if (this.#failed !== undefined) throw this.#failed;
    if (wanted <= 0) return;
    const failed = Promise.withResolvers<never>();
    // Before it waits: asking may itself lead to its being asked to give way.
    this.#fail = failed.reject;
    const { granted, leave } = this.#memory.wait(this, wanted);
    const timer = setTimeout(() => {
      if (!this.#isUrgent) this.#fail?.(new VerifierFailure('put-off', 'there is no memory for a decoder'));
    }, this.#init.patienceMs);
    try {
      await Promise.race([granted, failed.promise]);
    } finally {
      clearTimeout(timer);
      this.#fail = undefined;
      leave();
    }
  }

  /** The data is all here now. */
  urge(): void {
    this.#isUrgent = true;
    this.#memory.settle();
  }

  /** Its decoder has got more to do. */
  touch(): void {
    this.#lastUsed = this.#memory.tick();
  }

  /** Ends the wait for memory, now and in time to come. */
  cancel(failure: VerifierFailure): void {
    this.#failed = failure;
    this.#fail?.(failure);
  }

  /** A decoder is over: everything is given back. */
  release(): void {
    this.#heldBytes = 0;
    this.#memory.drop(this);
  }

  /** For the memory: bytes that it may use from now on. */
  add(bytes: number, now: number): void {
    this.#heldBytes += bytes;
    this.#lastUsed = now;
  }

  /** For the memory: lets go if that is possible. */
  giveWay(): boolean {
    if (this.#isUrgent || this.#init.onGiveWay === undefined) return false;
    this.#isLeaving = true;
    this.#init.onGiveWay();
    return true;
  }
}
