/** The program of this project in a process of its own, started on free ports and waited for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import path from 'node:path';
import { launchEnv, nodeFlags } from '../../hack/lib/launch.mjs';
import { built } from './built.ts';

const MAIN = built('dist/server/main.js');
const START_MS = 60_000;

export interface OwnProcessInit {
  readonly words: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Flags for node itself, such as --max-old-space-size. */
  readonly nodeArgs?: readonly string[] | undefined;
  /** Name of its log, where logs are kept. */
  readonly log: string;
  /** Hears of everything that it prints. */
  readonly onOutput: (text: string) => void;
}

export class OwnProcess {
  readonly #child: ChildProcess;
  /** `host:port` of each listener, and of the admin port. */
  readonly listen: readonly string[];
  readonly admin: string;
  /** The exit code; null when a signal ended it. */
  readonly ended: Promise<number | null>;

  private constructor(child: ChildProcess, ended: Promise<number | null>, ready: { listen: string[]; admin: string }) {
    this.#child = child;
    this.ended = ended;
    this.listen = ready.listen.map(fromHere);
    this.admin = fromHere(ready.admin);
  }

  /** Resolves once it has logged that it is ready. */
  static async start(init: OwnProcessInit): Promise<OwnProcess> {
    const { words, env, nodeArgs = [], onOutput } = init;
    const child = spawn(process.execPath, [...nodeFlags, ...nodeArgs, MAIN, ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...launchEnv, ...env },
    });
    const logs = process.env.NARWHAL_TEST_LOGS;
    const log = logs === undefined ? undefined : createWriteStream(path.join(logs, `${init.log}.log`), { flags: 'a' });
    const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
    let output = '';
    const ready = await new Promise<{ listen: string[]; admin: string }>((resolve, reject) => {
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        reject(new Error(`it did not start:\n${output}`));
      }, START_MS);
      const hear = (chunk: string) => {
        output += chunk;
        onOutput(chunk);
        log?.write(chunk);
        for (const line of chunk.split('\n')) {
          if (!line.includes('"msg":"ready"')) continue;
          clearTimeout(timer);
          resolve(JSON.parse(line));
        }
      };
      child.stdout.setEncoding('utf8').on('data', hear);
      // Lines of standard error are whole: pino writes each with one call.
      child.stderr.setEncoding('utf8').on('data', hear);
      ended.then((code) => {
        clearTimeout(timer);
        log?.end();
        reject(new Error(`the process ended with ${code}:\n${output.slice(-4000)}`));
      });
    });
    return new OwnProcess(child, ended, ready);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** Sends a signal and waits for the end; the exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#child.kill(signal);
    return this.ended;
  }
}

/** An address to connect to, of a process that listens on every address. */
function fromHere(address: string): string {
  return address.replace(/^(?:\[::\]|0\.0\.0\.0):/, '127.0.0.1:');
}
