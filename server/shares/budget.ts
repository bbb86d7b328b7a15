/**
 * So many units of something, slots or bytes, that many share. One client may have all of it while nobody waits; of what
 * comes free, those who hold the least get the next. Who stands still loses what it holds while others wait, so that
 * nobody is held off for ever by somebody who does nothing.
 *
 * Nobody waits for good: a claim that is larger than all counts as all, and who goes on with what it has begun is served
 * before everybody who begins, so that two budgets which are taken one after the other cannot wait for each other.
 */
import type { Caller, Moving } from './caller.ts';
import { FairQueue, type Waiter } from './fair-queue.ts';

export interface BudgetInit {
  /** All there is. */
  readonly units: number;
  /** Without progress for this long a holder stands still. */
  readonly stallMs?: number;
  /** Bytes a second that are progress. */
  readonly leastRate?: number;
  /**
   * Whether small claims go before large ones of those who hold as little. They are over soon, and a line of large ones
   * that nobody makes use of must not keep them out.
   */
  readonly isSmallFirst?: boolean;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

export interface Claim {
  readonly caller: Caller;
  /** Default: 1. */
  readonly units?: number;
  /** What it is taken for, if it can be seen whether it moves; default: the body of the caller. */
  readonly moving?: Moving | undefined;
  /** It holds something already that others wait for. */
  readonly goesOn?: boolean;
}

/** A share that is held. */
export interface Lease {
  /** Gives it back; may be called more than once. */
  release(): void;
  /** Gives back what is above `units`. */
  shrink(units: number): void;
}

interface Held {
  readonly claim: Claim;
  units: number;
  readonly lease: Lease;
  /** Bytes that had moved when it was last seen to move, and when that was. */
  moved: number;
  movedAt: number;
}

interface Turn {
  readonly claim: Claim;
  readonly units: number;
  readonly grant: (lease: Lease) => void;
}

export class Budget {
  readonly #units: number;
  readonly #isSmallFirst: boolean;
  readonly #stallMs: number;
  readonly #leastBytes: number;
  readonly #now: () => number;
  readonly #queue = new FairQueue<Turn>();
  /** Those who go on, in the order in which they came. */
  readonly #goingOn: Turn[] = [];
  readonly #holders = new Set<Held>();
  #held = 0;
  #revoked = 0;
  #watch: NodeJS.Timeout | undefined;

  constructor({ units, stallMs = Number.POSITIVE_INFINITY, leastRate = 0, isSmallFirst = false, now }: BudgetInit) {
    this.#units = units;
    this.#isSmallFirst = isSmallFirst;
    this.#stallMs = stallMs;
    this.#leastBytes = Math.max(1, (leastRate * stallMs) / 1000);
    this.#now = now ?? (() => performance.now());
  }

  /** Units that are held. */
  get held(): number {
    return this.#held;
  }

  /** Claims that wait. */
  get waiting(): number {
    return this.#queue.size + this.#goingOn.length;
  }

  /** How often somebody who stood still has lost a share to others. */
  get revoked(): number {
    return this.#revoked;
  }

  /** A share that is there at once; undefined where the claim would have to wait. */
  tryTake(claim: Claim): Lease | undefined {
    const units = this.#unitsOf(claim);
    if (claim.goesOn !== true && this.waiting > 0) return undefined;
    return this.#makeRoom(units) ? this.#grant(claim, units) : undefined;
  }

  /** Resolves once there is a share. @throws the signal's reason, and nothing is held then */
  async take(claim: Claim, signal?: AbortSignal): Promise<Lease> {
    const lease = this.tryTake(claim);
    if (lease !== undefined) return lease;
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Lease>();
    const units = this.#unitsOf(claim);
    const turn: Turn = { claim, units, grant: resolve };
    const waiter: Waiter<Turn> = { caller: claim.caller, item: turn, wanted: this.#isSmallFirst ? units : 0 };
    const leave = () => {
      const at = this.#goingOn.indexOf(turn);
      if (at >= 0) this.#goingOn.splice(at, 1);
      // It has its share already: whoever asked hears of the signal too, and gives it back.
      else if (!this.#queue.remove(waiter)) return;
      reject(signal?.reason);
      // The one who left may have stood in the way of a smaller claim.
      this.#serve();
    };
    signal?.addEventListener('abort', leave, { once: true });
    if (claim.goesOn === true) this.#goingOn.push(turn);
    else this.#queue.add(waiter);
    this.#serve();
    return promise.finally(() => signal?.removeEventListener('abort', leave));
  }

  /** A share for who may not be made to wait, even where there is none: it counts, and others wait the longer. */
  force(claim: Claim): Lease {
    return this.#grant(claim, this.#unitsOf(claim));
  }

  #unitsOf({ units = 1 }: Claim): number {
    return Math.min(units, this.#units);
  }

  #serve(): void {
    for (;;) {
      const waiter = this.#goingOn.length > 0 ? undefined : this.#queue.first();
      const turn = this.#goingOn[0] ?? waiter?.item;
      if (turn === undefined || !this.#makeRoom(turn.units)) return;
      if (waiter === undefined) this.#goingOn.shift();
      else this.#queue.remove(waiter);
      turn.grant(this.#grant(turn.claim, turn.units));
    }
  }

  #grant(claim: Claim, units: number): Lease {
    const lease: Lease = {
      release: () => this.#keep(held, 0),
      shrink: (left) => this.#keep(held, left),
    };
    const held: Held = { claim, units, lease, moved: 0, movedAt: this.#now() };
    this.#holders.add(held);
    this.#count(claim, units);
    if (Number.isFinite(this.#stallMs)) this.#watch ??= setInterval(() => this.look(), this.#stallMs / 4).unref();
    return lease;
  }

  #keep(held: Held, units: number): void {
    // Who took nothing is forgotten too, as is who sent an empty body.
    const isOver = units === 0 && this.#holders.delete(held);
    const back = held.units - units;
    if (back <= 0 && !isOver) return;
    held.units = units;
    this.#count(held.claim, -back);
    if (this.#holders.size === 0) {
      clearInterval(this.#watch);
      this.#watch = undefined;
    }
    this.#serve();
  }

  #count({ caller }: Claim, units: number): void {
    this.#held += units;
    this.#queue.hold(caller, units);
  }

  /** Sees who has moved since the last look, then who may go on. Done by itself, four times in `stallMs`. */
  look(): void {
    const now = this.#now();
    for (const held of this.#holders) {
      const moved = movingOf(held.claim)?.progress();
      if (moved !== undefined && moved - held.moved < this.#leastBytes) continue;
      held.moved = moved ?? held.moved;
      held.movedAt = now;
    }
    if (this.waiting > 0) this.#serve();
  }

  /** Whether `units` are free, perhaps once those who stand still have lost theirs. */
  #makeRoom(units: number): boolean {
    while (this.#held + units > this.#units) {
      const held = this.#worst();
      if (held === undefined) return false;
      this.#revoked++;
      this.#holders.delete(held);
      this.#count(held.claim, -held.units);
      held.units = 0;
      // Last: what it ends gives back a lease that is over by now.
      movingOf(held.claim)?.revoke();
    }
    return true;
  }

  /** Of those who stand still one of the client that holds the most. */
  #worst(): Held | undefined {
    const since = this.#now() - this.#stallMs;
    let worst: Held | undefined;
    let most = { cache: 0, client: 0 };
    for (const held of this.#holders) {
      if (held.movedAt > since || movingOf(held.claim) === undefined) continue;
      const share = this.#queue.held(held.claim.caller);
      const isMore = share.cache > most.cache || (share.cache === most.cache && share.client > most.client);
      if (worst === undefined || isMore) [worst, most] = [held, share];
    }
    return worst;
  }
}

function movingOf({ moving, caller }: Claim): Moving | undefined {
  return moving ?? caller.body;
}
