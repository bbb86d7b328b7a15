import * as os from 'node:os';
import { type Caller, currentCaller, FairQueue, type Waiter } from '../../shares/index.ts';
import { VerifierFailure, type VerifierFailureCode, VerifyError } from './errors.ts';
import type { Facts } from './facts.ts';
import type { Claim, Outcome, Taken, VerifyRequest } from './messages.ts';
import { SMALL_FILE_BYTES } from './small.ts';
import { StreamVerification } from './stream-verification.ts';
import { defaultWorkerUrl, WorkerPool, type WorkerSlot } from './worker-pool.ts';

export interface VerifierInit {
  /** Worker threads, started when they are needed. Default: one for each core, at least 2. */
  threads?: number;
  /** Verifications that hold buffers and open files at a time. Default: 2 for each thread. */
  maxConcurrent?: number;
  /** Memory for the decoders of each thread. Default: 192 MiB. One large file may take 128 MiB beyond. */
  decoderBytes?: number;
  /** Hears of each complete file how long its verdict took from then on. */
  onVerdict?: (milliseconds: number) => void;
  /** The worker's program, for tests of its failures. */
  workerUrl?: URL;
}

export interface VerifierStats {
  readonly running: number;
  /** Complete files that wait for their turn. */
  readonly queued: number;
}

/** One file under verification. */
export interface Verification {
  /** Tells that bytes [0, availableBytes) are in the file. */
  grow(availableBytes: number): void;
  /**
   * Tells that the file is complete and what is claimed of it. Rejects with `VerifyError` when the file is bad, with
   * `VerifierFailure` when it could not be verified. To be called once.
   */
  finish(claim: Claim): Promise<Facts>;
  /** Gives up. Resolves when nothing reads the file any more. */
  cancel(): Promise<void>;
}

interface Entry {
  /** The job that runs for it; another one after an eviction. */
  jobId: number;
  readonly request: VerifyRequest;
  /** In whose name it takes a place: who finishes it, or whoever began it while it grows. */
  caller: Caller;
  /** Its turn among complete files, while it waits for one. */
  turn: Waiter<Entry> | undefined;
  /** Waiting for its file to grow or for a turn; at work on a thread; over. */
  state: 'waiting' | 'running' | 'over';
  slot: WorkerSlot | undefined;
  availableBytes: number;
  claim: Claim | undefined;
  outcome: PromiseWithResolvers<Facts>;
  /** Resolves when the running worker has let go of the file. */
  released: PromiseWithResolvers<void>;
  /** A dropped tail starts again at byte 0, at its finish and not before. Resolves when its job is over. */
  evicted: Promise<void> | undefined;
  isCancelled: boolean;
}

/**
 * Verifies files in worker threads, while they grow and when they are complete. At most `maxConcurrent` are at work.
 * Complete files go first, those of the cache and client that have the fewest at work before others: where all places are
 * taken by files that still grow, the one idle for longest loses its place.
 */
export class Verifier {
  readonly #init: VerifierInit;
  readonly #pool: WorkerPool;
  readonly #maxConcurrent: number;
  /** Running, the one that grew last at the end. */
  readonly #running = new Map<number, Entry>();
  readonly #finished = new FairQueue<Entry>();
  readonly #digests = new Map<number, { answer: PromiseWithResolvers<string>; slot: WorkerSlot }>();
  /** Jobs of dropped tails that still have to let go of their files. */
  readonly #dropped = new Map<number, { slot: WorkerSlot; resolve: () => void }>();
  readonly #streams = new Map<number, StreamVerification>();
  #lastJobId = 0;
  #isStopped = false;

  constructor(init: VerifierInit = {}) {
    this.#init = init;
    const threads = init.threads ?? Math.max(2, os.availableParallelism());
    this.#maxConcurrent = init.maxConcurrent ?? 2 * threads;
    this.#pool = new WorkerPool({
      threads,
      workerUrl: init.workerUrl ?? defaultWorkerUrl(),
      workerData: { decoderBytes: init.decoderBytes },
      onOutcome: (outcome) => this.#heard(outcome),
      onCrash: (ids, reason) => this.#crashed(ids, reason),
    });
  }

  /** Begins to verify a file that may still be growing. Files below 256 KiB begin at their finish. */
  open(request: VerifyRequest): Verification {
    const entry: Entry = {
      jobId: 0,
      request,
      caller: currentCaller(),
      turn: undefined,
      state: 'waiting',
      slot: undefined,
      availableBytes: 0,
      claim: undefined,
      outcome: Promise.withResolvers<Facts>(),
      released: Promise.withResolvers<void>(),
      evicted: undefined,
      isCancelled: false,
    };
    // The outcome may be there before anybody asks for it.
    entry.outcome.promise.catch(() => {});
    return {
      grow: (availableBytes) => this.#grow(entry, availableBytes),
      finish: (claim) => this.#finish(entry, claim),
      cancel: () => this.#cancel(entry, 'the verification was cancelled'),
    };
  }

  /**
   * Begins to verify bytes that are sent piece by piece. They take no place of the files: nobody could read them
   * again, so what sends them would have to wait; their number is bounded by that of the bodies and transfers.
   */
  openStream(request: Omit<VerifyRequest, 'file'>): StreamVerification {
    const id = ++this.#lastJobId;
    const slot = this.#pool.take(id);
    const stream = new StreamVerification(id, slot, this.#init.onVerdict);
    if (this.#isStopped) stream.fail(new VerifierFailure('cancelled', 'the verifier is stopped'));
    else {
      this.#streams.set(id, stream);
      slot.send({ type: 'start', id, request, availableBytes: 0, claim: undefined });
    }
    return stream;
  }

  /**
   * Hex MD5 of `size` bytes of a file from `start` on, as `Content-MD5` of a part is checked. It takes no place of
   * the verifications: a part is hashed while its client waits. @throws VerifierFailure
   */
  md5(file: string, start: number, size: number): Promise<string> {
    if (this.#isStopped) return Promise.reject(new VerifierFailure('cancelled', 'the verifier is stopped'));
    const id = ++this.#lastJobId;
    const slot = this.#pool.take(id);
    const answer = Promise.withResolvers<string>();
    this.#digests.set(id, { answer, slot });
    slot.send({ type: 'md5', id, file, start, size });
    return answer.promise;
  }

  #digested(outcome: Outcome): boolean {
    const digest = this.#digests.get(outcome.id);
    if (digest === undefined) return false;
    this.#digests.delete(outcome.id);
    digest.slot.release(outcome.id);
    if (outcome.type === 'md5') digest.answer.resolve(outcome.hex);
    else digest.answer.reject(new VerifierFailure('internal', 'a part could not be hashed; try again'));
    return true;
  }

  stats(): VerifierStats {
    return { running: this.#running.size + this.#streams.size, queued: this.#finished.size };
  }

  /** Cancels everything and ends the threads. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (let entry = this.#nextFinished(); entry !== undefined; entry = this.#nextFinished())
      this.#reject(entry, 'cancelled', 'the verifier was stopped');
    for (const entry of [...this.#running.values()]) {
      this.#leave(entry);
      this.#reject(entry, 'cancelled', 'the verifier was stopped');
    }
    await this.#pool.stop();
    for (const stream of this.#streams.values())
      stream.fail(new VerifierFailure('cancelled', 'the verifier was stopped'));
    this.#streams.clear();
    for (const id of [...this.#dropped.keys()]) this.#forget(id);
    for (const { answer } of this.#digests.values())
      answer.reject(new VerifierFailure('cancelled', 'the verifier was stopped'));
    this.#digests.clear();
  }

  #grow(entry: Entry, availableBytes: number): void {
    if (entry.claim !== undefined || entry.state === 'over') return;
    entry.availableBytes = Math.max(entry.availableBytes, availableBytes);
    if (entry.state === 'running') {
      // To the end of the line: it is not idle.
      this.#running.delete(entry.jobId);
      this.#running.set(entry.jobId, entry);
      entry.slot?.send({ type: 'grow', id: entry.jobId, availableBytes: entry.availableBytes });
    } else if (this.#mayStartTail(entry)) {
      this.#start(entry);
    }
  }

  #mayStartTail(entry: Entry): boolean {
    const isWorthIt = entry.availableBytes >= SMALL_FILE_BYTES && entry.evicted === undefined && !this.#isStopped;
    return isWorthIt && this.#finished.size === 0 && this.#running.size < this.#maxConcurrent;
  }

  #finish(entry: Entry, claim: Claim): Promise<Facts> {
    if (entry.state === 'over' || entry.claim !== undefined) return entry.outcome.promise;
    entry.claim = claim;
    entry.availableBytes = claim.fileSize;
    this.#time(entry);
    if (this.#isStopped) this.#reject(entry, 'cancelled', 'the verifier is stopped');
    else if (entry.state === 'running') entry.slot?.send({ type: 'finish', id: entry.jobId, claim });
    else {
      entry.caller = currentCaller();
      this.#queue(entry);
      this.#startFinished();
    }
    return entry.outcome.promise;
  }

  #queue(entry: Entry): void {
    entry.turn = { caller: entry.caller, item: entry };
    this.#finished.add(entry.turn);
  }

  #time(entry: Entry): void {
    const { onVerdict } = this.#init;
    if (onVerdict === undefined) return;
    const start = performance.now();
    const over = () => onVerdict(performance.now() - start);
    entry.outcome.promise.then(over, over);
  }

  #startFinished(): void {
    while (this.#finished.size > 0 && (this.#running.size < this.#maxConcurrent || this.#evictTail())) {
      const entry = this.#nextFinished();
      if (entry !== undefined) this.#start(entry);
    }
  }

  /** Takes the one out whose turn it is. */
  #nextFinished(): Entry | undefined {
    const turn = this.#finished.first();
    if (turn === undefined) return undefined;
    this.#finished.remove(turn);
    turn.item.turn = undefined;
    return turn.item;
  }

  /** It is no longer at work. */
  #leave(entry: Entry): void {
    if (this.#running.delete(entry.jobId)) this.#finished.hold(entry.caller, -1);
  }

  /** Drops the tail that has been idle for longest; false when only complete files are at work. */
  #evictTail(): boolean {
    for (const entry of this.#running.values()) {
      const { jobId, slot } = entry;
      // One that is being cancelled is over in a moment, and somebody waits for that.
      if (entry.claim !== undefined || slot === undefined || entry.isCancelled) continue;
      this.#leave(entry);
      slot.send({ type: 'cancel', id: jobId });
      entry.state = 'waiting';
      entry.slot = undefined;
      entry.evicted = new Promise((resolve) => this.#dropped.set(jobId, { slot, resolve }));
      return true;
    }
    return false;
  }

  #start(entry: Entry): void {
    // A number of its own for each start: the answer of a dropped job must not be taken for that of the next.
    const id = ++this.#lastJobId;
    entry.jobId = id;
    entry.state = 'running';
    entry.slot = this.#pool.take(id);
    this.#running.set(id, entry);
    this.#finished.hold(entry.caller, 1);
    const { request, availableBytes, claim } = entry;
    entry.slot.send({ type: 'start', id, request, availableBytes, claim });
  }

  async #cancel(entry: Entry, reason: string): Promise<void> {
    if (entry.state === 'over') return;
    entry.isCancelled = true;
    if (entry.state === 'running') {
      entry.slot?.send({ type: 'cancel', id: entry.jobId });
      await entry.released.promise;
      return;
    }
    if (entry.turn !== undefined) this.#finished.remove(entry.turn);
    entry.turn = undefined;
    this.#reject(entry, 'cancelled', reason);
    await entry.evicted;
  }

  #heard(outcome: Outcome | Taken): void {
    const stream = this.#streams.get(outcome.id);
    if (outcome.type === 'taken') stream?.taken(outcome.bytes);
    else if (stream === undefined) this.#ended(outcome);
    else if (outcome.type !== 'md5') {
      this.#streams.delete(outcome.id);
      if (outcome.type === 'facts') stream.settle(outcome.facts);
      else stream.fail(errorOf(outcome));
    }
  }

  #ended(outcome: Outcome): void {
    if (this.#digested(outcome) || outcome.type === 'md5') return;
    this.#forget(outcome.id);
    const entry = this.#running.get(outcome.id);
    if (entry === undefined) return;
    this.#leave(entry);
    entry.slot?.release(entry.jobId);
    if (outcome.type === 'failure' && outcome.code === 'put-off') this.#putOff(entry);
    else this.#settle(entry, outcome);
    this.#startFinished();
  }

  /** Its decoder made room: it begins again at its finish, which may have come meanwhile. */
  #putOff(entry: Entry): void {
    if (entry.isCancelled) {
      this.#reject(entry, 'cancelled', 'the verification was cancelled');
      return;
    }
    entry.state = 'waiting';
    entry.slot = undefined;
    entry.evicted = Promise.resolve();
    if (entry.claim !== undefined) this.#queue(entry);
  }

  #settle(entry: Entry, outcome: Exclude<Outcome, { type: 'md5' }>): void {
    entry.state = 'over';
    if (outcome.type === 'facts') entry.outcome.resolve(outcome.facts);
    else entry.outcome.reject(errorOf(outcome));
    entry.released.resolve();
  }

  #crashed(ids: Iterable<number>, reason: string): void {
    for (const id of ids) {
      if (this.#digested({ type: 'failure', id, code: 'internal', message: reason })) continue;
      const stream = this.#streams.get(id);
      if (stream !== undefined) {
        this.#streams.delete(id);
        stream.fail(new VerifierFailure('internal', `the verification failed: ${reason}; try again`));
        continue;
      }
      this.#forget(id);
      const entry = this.#running.get(id);
      if (entry === undefined) continue;
      this.#leave(entry);
      this.#reject(entry, 'internal', `the verification failed: ${reason}; try again`);
    }
    this.#startFinished();
  }

  /** A dropped job is over: nobody waits for its facts, but perhaps for its file. */
  #forget(id: number): void {
    const dropped = this.#dropped.get(id);
    if (dropped === undefined) return;
    this.#dropped.delete(id);
    dropped.slot.release(id);
    dropped.resolve();
  }

  #reject(entry: Entry, code: VerifierFailureCode, message: string): void {
    entry.state = 'over';
    entry.outcome.reject(new VerifierFailure(code, message));
    entry.released.resolve();
  }
}

function errorOf(outcome: Exclude<Outcome, { type: 'facts' | 'md5' }>): Error {
  if (outcome.type === 'error') return new VerifyError(outcome.code, outcome.message);
  return new VerifierFailure(outcome.code, outcome.message);
}
