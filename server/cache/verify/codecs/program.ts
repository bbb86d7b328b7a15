import * as child from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Readable } from 'node:stream';
import { VerifierFailure, VerifyError } from '../errors.ts';
import type { MemoryShare } from './memory.ts';

const READ_CHUNK_BYTES = 256 * 1024;
const MAX_COMPLAINT_BYTES = 4096;
/** What a program takes: bzip2 4 MiB, lz4 its blocks of 4 MiB. It bounds how many run at a time, too. */
const PROGRAM_BYTES = 12 * 1024 * 1024;

export interface ProgramDecoder {
  /** Name on PATH, also what errors call the data. */
  readonly program: string;
  readonly args: readonly string[];
  /** What the program prints, with status 0, about something that is refused here. */
  readonly refusedWarning?: RegExp;
}

/** Finds a program on PATH; undefined when there is none. */
export function findProgram(name: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(path.delimiter)) {
    const file = path.join(folder, name);
    try {
      fs.accessSync(file, fs.constants.X_OK);
      return path.isAbsolute(file) ? file : undefined;
    } catch {
      // Not in this one.
    }
  }
  return undefined;
}

/** Runs `source` through a program of the system: from its standard input to its standard output. */
export async function* throughProgram(
  source: AsyncIterable<Buffer>,
  decoder: ProgramDecoder,
  memory: MemoryShare,
): AsyncGenerator<Buffer> {
  try {
    await memory.hold(PROGRAM_BYTES);
    yield* throughRunning(source, decoder);
  } finally {
    memory.release();
  }
}

async function* throughRunning(source: AsyncIterable<Buffer>, decoder: ProgramDecoder): AsyncGenerator<Buffer> {
  const file = findProgram(decoder.program);
  if (file === undefined) {
    const remedy = `install the program ${decoder.program} on the server, or push with another compression`;
    throw new VerifyError('unsupported', `${decoder.program} data cannot be decoded: ${remedy}`);
  }
  const running = child.spawn(file, decoder.args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    // The caller's environment could change how it decodes (XZ_OPT, LZ4_NBWORKERS).
    env: { LC_ALL: 'C' },
  });
  const closed = once(running, 'close');
  const feeding = feed(source, running.stdin);
  const complaint = firstBytes(running.stderr);
  // Each is awaited below, unless another fails first: its own failure must not count as unhandled.
  for (const promise of [closed, feeding, complaint]) promise.catch(() => {});
  // Whoever sent the data has gone, or sent too much of it.
  feeding.catch(() => running.kill('SIGKILL'));
  try {
    for await (const chunk of bigChunks(running.stdout)) yield chunk;
    await feeding;
    const [status, signal] = await closed;
    const warning = await complaint;
    // The system ends programs where memory is short; bzip2 and lz4 say so themselves.
    if (signal !== null || (status !== 0 && /(enough|out of) memory/i.test(warning)))
      throw new VerifierFailure('no-memory', `${decoder.program} was ended by ${signal ?? 'a lack of memory'}`);
    if (decoder.refusedWarning?.test(warning)) {
      throw new VerifyError('corrupt', `bytes after the end of the ${decoder.program} data`);
    }
    if (status !== 0) throw new VerifyError('corrupt', complaintOf(decoder.program, warning));
  } finally {
    running.kill('SIGKILL');
  }
}

function complaintOf(program: string, text: string): string {
  const [line = ''] = text.split('\n').filter((candidate) => candidate.trim() !== '');
  const reason = line
    .replace(/[^ -~]/g, '?')
    .slice(0, 120)
    .trim();
  return reason === '' ? `the ${program} data is damaged` : `the ${program} data is damaged (${reason})`;
}

async function feed(source: AsyncIterable<Buffer>, stdin: child.ChildProcessWithoutNullStreams['stdin']) {
  const over = new AbortController();
  stdin.once('close', () => over.abort());
  // EPIPE: the program has had enough; its status says why.
  stdin.once('error', () => over.abort());
  try {
    for await (const chunk of source) {
      if (over.signal.aborted) return;
      if (!stdin.write(chunk)) await once(stdin, 'drain', { signal: over.signal });
    }
    stdin.end();
  } catch (error) {
    stdin.destroy();
    if (!over.signal.aborted) throw error;
  }
}

async function firstBytes(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream) if (text.length < MAX_COMPLAINT_BYTES) text += String(chunk);
  return text;
}

/** A pipe gives 64 KiB at most; hashing likes more at a time. */
async function* bigChunks(stream: Readable): AsyncGenerator<Buffer> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  for await (const chunk of stream) {
    held.push(chunk);
    heldBytes += chunk.length;
    if (heldBytes < READ_CHUNK_BYTES) continue;
    yield Buffer.concat(held);
    held = [];
    heldBytes = 0;
  }
  if (heldBytes > 0) yield Buffer.concat(held);
}
