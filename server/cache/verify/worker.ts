import { parentPort, workerData } from 'node:worker_threads';
import { FormatError } from '../../nix/index.ts';
import { DecoderMemory } from './codecs/memory.ts';
import { VerifierFailure, VerifyError } from './errors.ts';
import { Job } from './job.ts';
import { md5OfRange } from './md5.ts';
import type { Command, Outcome, Taken, WorkerData } from './messages.ts';

/** The thread that verifies: takes commands from `Verifier` and answers each job once. */
const jobs = new Map<number, Job>();
const { decoderBytes }: WorkerData = workerData;
const memory = new DecoderMemory(decoderBytes);

parentPort?.on('message', (command: Command) => {
  if (command.type === 'md5') {
    digest(command);
    return;
  }
  if (command.type === 'start') {
    const { id } = command;
    const job = new Job(memory, command.request, command.availableBytes, command.claim, (bytes) => {
      const taken: Taken = { type: 'taken', id, bytes };
      parentPort?.postMessage(taken);
    });
    jobs.set(id, job);
    void run(id, job);
    return;
  }
  // A job may be over before a late command for it arrives.
  const job = jobs.get(command.id);
  if (command.type === 'grow') job?.grow(command.availableBytes);
  else if (command.type === 'piece') job?.piece(command.bytes);
  else if (command.type === 'finish') job?.finish(command.claim);
  else job?.cancel();
});

/** Digests run one after the other: side by side they would be no faster, and each would hold a buffer. */
let digests: Promise<void> = Promise.resolve();

function digest({ id, file, start, size }: Extract<Command, { type: 'md5' }>): void {
  digests = digests.then(async () => {
    const outcome = await md5OfRange(file, start, size).then(
      (hex): Outcome => ({ type: 'md5', id, hex }),
      (error: unknown): Outcome => ({ type: 'failure', id, code: 'internal', message: String(error) }),
    );
    parentPort?.postMessage(outcome);
  });
}

async function run(id: number, job: Job): Promise<void> {
  const outcome = await outcomeOf(id, job);
  jobs.delete(id);
  parentPort?.postMessage(outcome);
}

async function outcomeOf(id: number, job: Job): Promise<Outcome> {
  try {
    return { type: 'facts', id, facts: await job.run() };
  } catch (error) {
    if (error instanceof VerifyError) return { type: 'error', id, code: error.code, message: error.message };
    if (error instanceof FormatError) return { type: 'error', id, code: 'corrupt', message: error.message };
    if (error instanceof VerifierFailure) return { type: 'failure', id, code: error.code, message: error.message };
    return { type: 'failure', id, code: 'internal', message: error instanceof Error ? error.message : String(error) };
  }
}
