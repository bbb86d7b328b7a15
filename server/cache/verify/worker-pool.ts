import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Command, Outcome, Taken, WorkerData } from './messages.ts';

// Enough for the code and small strings: NAR data lives in buffers outside the heap.
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 };

export interface WorkerPoolInit {
  readonly threads: number;
  readonly workerUrl: URL;
  readonly workerData: WorkerData;
  readonly onOutcome: (outcome: Outcome | Taken) => void;
  /** A worker died; `ids` are the jobs that it ran. */
  readonly onCrash: (ids: Iterable<number>, reason: string) => void;
}

/** The worker beside this file: TypeScript in the source tree, JavaScript in the built one. */
export function defaultWorkerUrl(): URL {
  return new URL(`./worker${path.extname(import.meta.filename)}`, import.meta.url);
}

/** One worker thread and the jobs that it runs. It keeps the process alive only while it has some. */
export class WorkerSlot {
  readonly #jobs = new Set<number>();
  readonly #worker: Worker;

  constructor(worker: Worker) {
    this.#worker = worker;
  }

  get jobs(): ReadonlySet<number> {
    return this.#jobs;
  }

  take(id: number): void {
    this.#jobs.add(id);
    this.#worker.ref();
  }

  /** @param transfer buffers that the worker gets instead of copies */
  send(command: Command, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(command, [...transfer]);
  }

  release(id: number): void {
    this.#jobs.delete(id);
    if (this.#jobs.size === 0) this.#worker.unref();
  }
}

/** Starts workers as they are needed and gives each job to the one with the fewest. A dead one is replaced. */
export class WorkerPool {
  readonly #init: WorkerPoolInit;
  readonly #slots = new Map<Worker, WorkerSlot>();
  #isStopped = false;

  constructor(init: WorkerPoolInit) {
    this.#init = init;
  }

  take(id: number): WorkerSlot {
    let best: WorkerSlot | undefined;
    for (const slot of this.#slots.values()) {
      if (best === undefined || slot.jobs.size < best.jobs.size) best = slot;
    }
    if (best === undefined || (best.jobs.size > 0 && this.#slots.size < this.#init.threads)) best = this.#add();
    best.take(id);
    return best;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([...this.#slots.keys()].map((worker) => worker.terminate()));
    this.#slots.clear();
  }

  #add(): WorkerSlot {
    const worker = new Worker(this.#init.workerUrl, {
      workerData: this.#init.workerData,
      resourceLimits: RESOURCE_LIMITS,
    });
    const slot = new WorkerSlot(worker);
    let reason = 'the worker ended';
    worker.on('message', this.#init.onOutcome);
    worker.on('error', (error) => {
      reason = error instanceof Error ? error.message : String(error);
    });
    worker.once('exit', () => {
      this.#slots.delete(worker);
      if (!this.#isStopped) this.#init.onCrash([...slot.jobs], reason);
    });
    this.#slots.set(worker, slot);
    return slot;
  }
}
