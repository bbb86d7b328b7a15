/** A real narwhal-operator in a process of its own, with timers short enough for tests. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { nodeFlags } from '../../hack/lib/launch.mjs';
import { built } from './built.ts';
import { until } from './server.ts';
import { logFile, onFreePort, ServerProcess } from './server-process.ts';

const MAIN = built('dist/operator/main.js');

export interface OperatorInit {
  /** Of a user who may do what the operator does. */
  readonly kubeconfig: string;
  /** Where its lease and its ConfigMaps are. */
  readonly namespace: string;
  /** Further flags of `run`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A line of the log. Levels: 30 info, 40 warn, 50 error. */
export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** How many writes the API server has carried out, by verb. */
export type Writes = Readonly<Record<(typeof WRITES)[number], number>>;

const WRITES = ['apply', 'create', 'replace', 'patch', 'delete'] as const;

/** Flags with which the lease is written when a process takes it and not again: whatever else is written shows. */
export const QUIET_LEASE = ['--lease-duration', '600', '--renew-deadline', '500', '--lease-retry', '300'];

export class Operator {
  readonly #init: OperatorInit;
  readonly #folder: string;
  #port = 0;
  #process: ServerProcess | undefined;

  private constructor(init: OperatorInit, folder: string) {
    this.#init = init;
    this.#folder = folder;
  }

  static async start(init: OperatorInit): Promise<Operator> {
    const operator = await Operator.idle(init);
    await operator.restart();
    return operator;
  }

  /** One that is still to be started. */
  static async idle(init: OperatorInit): Promise<Operator> {
    return new Operator(init, await mkdtemp(path.join(os.tmpdir(), 'narwhal-operator-')));
  }

  /** Starts it, after it has ended in order, with further variables or flags. Resolves when it is ready. */
  async restart(more: Pick<OperatorInit, 'args' | 'env'> = {}): Promise<void> {
    await this.stop();
    await onFreePort((port) => this.#startOn(port, more));
  }

  get process(): ServerProcess {
    if (!this.#process) throw new Error('the operator was never started');
    return this.#process;
  }

  /** Everything that all its processes have logged. */
  get log(): string {
    return logFile(this.#folder, 'operator');
  }

  /** `/metrics`, `/readyz` or `/livez`. */
  async probe(name: string): Promise<{ readonly status: number; readonly text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.#port}/${name}`);
    return { status: answer.status, text: await answer.text() };
  }

  /** Sum of a series over all labels that match. */
  async metric(name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
    return sumOf((await this.probe('metrics')).text, name, labels);
  }

  /** What it has asked the API server to write since it was started. */
  async writes(): Promise<Writes> {
    const { text } = await this.probe('metrics');
    const counts = WRITES.map((verb) => [verb, sumOf(text, 'narwhal_operator_api_request_seconds_count', { verb })]);
    return Object.fromEntries(counts) as Writes;
  }

  /** Waits until it has looked at caches so many times more, and whatever it wrote then is written. */
  async untilReconciled(times: number): Promise<void> {
    const count = () => this.metric('narwhal_operator_reconcile_seconds_count', { controller: 'caches' });
    const wanted = (await count()) + times;
    await until(`${times} more reconciles`, async () => (await count()) >= wanted);
  }

  /** What all its processes have logged. */
  async lines(): Promise<LogLine[]> {
    const lines = (await readFile(this.log, 'utf8')).split('\n');
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogLine);
  }

  /** Starts a process that ends by itself; its exit code, null if a signal ended it. */
  async runToEnd(more: Pick<OperatorInit, 'args' | 'env'> = {}): Promise<number | null> {
    await this.kill();
    // Its port is nobody's business.
    this.#spawn(0, more);
    return this.process.ended;
  }

  /** Ends it as the kubelet does. The exit code. */
  async stop(): Promise<number | null> {
    return (await this.#process?.stop('SIGTERM')) ?? null;
  }

  async kill(): Promise<void> {
    await this.#process?.stop('SIGKILL');
  }

  /** Ends it. Its log stays where the run's logs are searched. */
  async remove(): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #startOn(port: number, more: Pick<OperatorInit, 'args' | 'env'>): Promise<void> {
    this.#port = port;
    this.#spawn(port, more);
    await this.process.untilReady(async () => {
      if ((await this.probe('readyz')).status !== 200) throw new Error('not ready');
    });
  }

  #spawn(port: number, more: Pick<OperatorInit, 'args' | 'env'>): void {
    const { kubeconfig, namespace, args = [], env = {} } = this.#init;
    const flags = {
      '--namespace': namespace,
      '--listen': `127.0.0.1:${port}`,
      '--image': 'narwhal:test',
      // Which hosts caches may take is the matter of tests that say so.
      '--cache-hosts': '*=*',
      '--ingress-annotations': '*',
      '--poll': '0.2',
      '--status-interval': '2',
      '--numbers-interval': '1',
      '--secrets-interval': '1',
      // The default of the product: an API server on a busy machine may be silent for seconds.
      '--lease-duration': '15',
      '--renew-deadline': '10',
      '--lease-retry': '0.2',
    };
    const words = [...Object.entries(flags).flat(), ...args, ...(more.args ?? [])];
    this.#process = new ServerProcess({
      words: [process.execPath, ...nodeFlags, MAIN, 'run', ...words],
      env: { PATH: process.env.PATH, HOME: this.#folder, KUBECONFIG: kubeconfig, ...env, ...more.env },
      log: this.log,
      cwd: this.#folder,
    });
  }
}

function sumOf(text: string, name: string, labels: Readonly<Record<string, string>>): number {
  const fits = (line: string) => Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`));
  return text
    .split('\n')
    .filter((line) => (line.startsWith(`${name}{`) || line.startsWith(`${name} `)) && fits(line))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}
