/** A server of another project in a process of its own: started on a free port, waited for, never left behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { COMPILED } from './compiled.ts';
import { pauseAfter } from './pause.ts';

const START_MS = 60_000;
const ASK_MS = 5000;
const PORT_TRIES = 10;
const PORT_RETRY_MS = 100;
const TAIL_BYTES = 4000;
/** Below the ports that systems give to outgoing connections, so that a server finds its port again after a restart. */
const PORTS = { first: 15_000, last: 31_999 };

export interface ServerProcessInit {
  /** The program and its arguments. */
  readonly words: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** A file that gets what the server prints; appended to. */
  readonly log: string;
  readonly cwd?: string;
  /** Another user to run as. */
  readonly uid?: number | undefined;
  /** What ends the process when ours ends first. */
  readonly lastSignal?: NodeJS.Signals;
}

/** What runs, and the signal that ends it when our process ends first. One listener for all, however many there are. */
const left = new Map<ChildProcess, NodeJS.Signals>();
process.on('exit', () => {
  for (const [child, signal] of left) child.kill(signal);
});

/** Where a process in `folder` logs to: where `npm test` looks for secrets afterwards, else into the folder. */
export function logFile(folder: string, name: string): string {
  return path.join(process.env.NARWHAL_TEST_LOGS ?? folder, `${path.basename(folder)}-${name}.log`);
}

/** The server could not take its port, because another process has it. */
export class PortTakenError extends Error {}

export class ServerProcess {
  readonly #child: ChildProcess;
  readonly #init: ServerProcessInit;
  /** Where this process' part of the log begins. */
  readonly #logStart: number;
  #running = true;
  /** The exit code; null when a signal ended it. */
  readonly ended: Promise<number | null>;

  constructor(init: ServerProcessInit) {
    this.#init = init;
    const [program = '', ...args] = init.words;
    const log = openSync(init.log, 'a');
    this.#logStart = fstatSync(log).size;
    const user = init.uid === undefined ? {} : { uid: init.uid, gid: init.uid };
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: { ...COMPILED, ...init.env },
      ...(init.cwd === undefined ? {} : { cwd: init.cwd }),
      ...user,
    });
    closeSync(log);
    left.set(child, init.lastSignal ?? 'SIGKILL');
    this.#child = child;
    this.ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code) => resolve(code));
    });
    this.ended
      .catch(() => {})
      .finally(() => {
        this.#running = false;
        left.delete(child);
      });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Sends a signal, to a process that has not ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.#running) this.#child.kill(signal);
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.signal(signal);
    return this.ended;
  }

  /** The end of what this process has printed. */
  async tail(): Promise<string> {
    return (await readFile(this.#init.log)).subarray(this.#logStart).subarray(-TAIL_BYTES).toString();
  }

  /** Waits until `ask` succeeds. Fails as soon as the process has ended, with the end of its log. */
  async untilReady(ask: () => Promise<unknown>): Promise<void> {
    const [name] = this.#init.words;
    const start = Date.now();
    for (;;) {
      const asked = ask().then(
        () => undefined,
        (error: unknown) => error,
      );
      // Whoever else listens on the port may never answer.
      const late = new Promise((resolve) => setTimeout(resolve, ASK_MS, new Error('no answer')).unref());
      const cause = await Promise.race([asked, late, this.ended.then((code) => new Error(`ended with ${code}`))]);
      if (cause === undefined) return;
      if (!this.#running) {
        const code = await this.ended;
        const tail = await this.tail();
        // This text comes from the system: Go and PostgreSQL both pass it on.
        if (/address already in use/i.test(tail)) throw new PortTakenError(`${name} found its port taken:\n${tail}`);
        throw new Error(`${name} ended with ${code}:\n${tail}`);
      }
      if (Date.now() - start > START_MS) {
        await this.stop('SIGKILL');
        throw new Error(`${name} was not ready after ${START_MS} ms:\n${await this.tail()}`, { cause });
      }
      await pauseAfter(Date.now() - start);
    }
  }
}

/** Calls `start` with a free port, and with another one when a third process was quicker. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  return retryTaken(async () => start(await freePort()), 0);
}

/** Calls `start` until the port that it wants is free again. */
export async function onSamePort<T>(start: () => Promise<T>): Promise<T> {
  return retryTaken(start, PORT_RETRY_MS);
}

async function retryTaken<T>(start: () => Promise<T>, pauseMs: number): Promise<T> {
  for (let left = PORT_TRIES; ; left--) {
    try {
      return await start();
    } catch (error) {
      if (!(error instanceof PortTakenError) || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
}

async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + Math.floor(Math.random() * (PORTS.last - PORTS.first + 1));
    const server = net.createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.on('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
