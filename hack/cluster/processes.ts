/** The programs of a cluster: each runs inside its machine with a log of its own, and whoever knows its name finds it. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import type { Machine } from './machine.ts';
import { until } from './until.ts';

const STOP_MS = 30_000;
const TAIL_BYTES = 2000;

export class Processes {
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
    for (const folder of ['run', 'log']) fs.mkdirSync(path.join(machine.folder, folder), { recursive: true });
  }

  /** Starts a program unless it runs. @param words the program and its arguments */
  async start(name: string, words: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
    if (await this.isRunning(name)) return;
    fs.rmSync(this.#pidFile(name), { force: true });
    fs.writeFileSync(this.#wordsFile(name), JSON.stringify(words));
    const log = fs.openSync(this.logFile(name), 'a');
    const script = 'echo $$ > "$0.draft" && mv "$0.draft" "$0" && exec "$@"';
    const [program = '', ...args] = this.#machine.words(['sh', '-c', script, this.#pidFile(name), ...words]);
    const child = spawn(program, args, { env, detached: true, stdio: ['ignore', log, log] });
    child.on('error', () => {});
    child.unref();
    fs.closeSync(log);
    await until(`the start of ${name}`, () => this.#pid(name), { mostMs: STOP_MS });
  }

  /** Starts a program that has ended with the words that it was started with last; whoever knows its name may. */
  async restart(name: string, env: NodeJS.ProcessEnv): Promise<void> {
    await this.start(name, JSON.parse(fs.readFileSync(this.#wordsFile(name), 'utf8')) as string[], env);
  }

  /** Sends a signal to a program, which must run. */
  async signal(name: string, signal: NodeJS.Signals): Promise<void> {
    await this.#machine.run(['sh', '-c', `kill -${signal.replace(/^SIG/, '')} ${this.#pid(name) ?? 'nothing'}`]);
  }

  /** Ends a program, if it runs, and waits for its end. */
  async stop(name: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (!(await this.isRunning(name))) return;
    await this.signal(name, signal);
    await until(`the end of ${name}`, async () => !(await this.isRunning(name)), { mostMs: STOP_MS });
  }

  async isRunning(name: string): Promise<boolean> {
    const pid = this.#pid(name);
    if (pid === undefined) return false;
    // A zombie is no more; nsenter buries it in a moment.
    const script = `read -r _ _ state _ < /proc/${pid}/stat && [ "$state" != Z ]`;
    return this.#machine.run(['sh', '-c', script]).then(
      () => true,
      () => false,
    );
  }

  logFile(name: string): string {
    return path.join(this.#machine.folder, 'log', `${name}.log`);
  }

  /** Waits until a program answers; when it ends before, says what it wrote last. */
  async untilReady(name: string, ask: () => Promise<unknown>, mostMs: number): Promise<void> {
    let alive = true;
    try {
      await until(
        `${name} to be ready`,
        async () => {
          alive = await this.isRunning(name);
          if (!alive) return true;
          await ask();
          return true;
        },
        { mostMs },
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.#tail(name)}`, { cause: error });
    }
    if (!alive) throw new Error(`${name} has ended:\n${this.#tail(name)}`);
  }

  #tail(name: string): string {
    return fs.readFileSync(this.logFile(name), 'utf8').slice(-TAIL_BYTES);
  }

  /** As the machine counts. */
  #pid(name: string): number | undefined {
    try {
      return Number(fs.readFileSync(this.#pidFile(name), 'utf8').trim());
    } catch {
      return undefined;
    }
  }

  /** They name files; what is secret lies in those. */
  #wordsFile(name: string): string {
    return path.join(this.#machine.folder, 'run', `${name}.json`);
  }

  #pidFile(name: string): string {
    return path.join(this.#machine.folder, 'run', `${name}.pid`);
  }
}
