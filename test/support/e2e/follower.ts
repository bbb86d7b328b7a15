/** Follows an object: every state that the API server tells of, also those that last for a moment. */
import { type ChildProcess, spawn } from 'node:child_process';
import type net from 'node:net';
import { type Condition, conditionOf } from './conditions.ts';
import type { Live, World } from './world.ts';

const WAIT_MS = 180_000;

export class Follower {
  /** From the first to the newest. */
  readonly states: Live[] = [];
  readonly #what: string;
  readonly #process: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #text = '';
  #complaint = '';

  private constructor(world: World, what: string) {
    this.#what = what;
    // A watch has no end: it ends with this process at the latest, which does not wait for it.
    const args = ['--namespace', world.namespace, 'get', what, '--watch', '--output', 'json'];
    this.#process = spawn('kubectl', args, { env: world.env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process.stdout?.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaint += text;
    });
    this.#process.unref();
    for (const pipe of [this.#process.stdout, this.#process.stderr]) (pipe as net.Socket).unref();
    process.once('exit', () => this.stop());
  }

  /** Resolves once it knows the object, which must exist. @param what as in `binarycache/main` */
  static async start(world: World, what: string): Promise<Follower> {
    const follower = new Follower(world, what);
    await follower.until('it exists', () => true);
    return follower;
  }

  get now(): Live {
    const last = this.states.at(-1);
    if (!last) throw new Error(`nothing is known of ${this.#what} yet`);
    return last;
  }

  /** The first state that fits, of those that came after `from` or will come. @param from what `states.length` was */
  async until(what: string, fits: (state: Live) => unknown, { from = 0, mostMs = WAIT_MS } = {}): Promise<Live> {
    const end = performance.now() + mostMs;
    for (let at = from; ; at++) {
      while (at >= this.states.length) {
        const left = end - performance.now();
        if (left <= 0 || this.#process.exitCode !== null)
          throw new Error(`${this.#what}: ${what}: not within ${mostMs / 1000} s; ${this.#complaint}${this.#last()}`);
        await this.#news(left);
      }
      const state = this.states[at];
      if (state && fits(state)) return state;
    }
  }

  /** The first state with such a condition, of the object's own newest form; the condition. */
  async condition(type: string, status: string, reason?: string, init: { from?: number } = {}): Promise<Condition> {
    const find = (state: Live) => {
      const found = conditionOf(state, type);
      return found?.status === status && (reason === undefined || found.reason === reason) ? found : undefined;
    };
    const what = `${type} is ${[status, reason].filter(Boolean).join(' ')}`;
    const state = await this.until(
      what,
      (it) => find(it) && it.status.observedGeneration === it.metadata.generation,
      init,
    );
    return find(state) as Condition;
  }

  stop(): void {
    this.#process.kill();
  }

  #read(text: string): void {
    this.#text += text;
    // Objects are printed over many lines, of which the last alone begins with its brace.
    for (let end = this.#text.indexOf('\n}\n'); end >= 0; end = this.#text.indexOf('\n}\n')) {
      this.states.push(JSON.parse(this.#text.slice(0, end + 2)) as Live);
      this.#text = this.#text.slice(end + 3);
    }
    for (const tell of this.#waiting) tell();
  }

  #news(mostMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        this.#process.off('exit', done);
        resolve();
      };
      const timer = setTimeout(done, mostMs);
      this.#waiting.add(done);
      this.#process.once('exit', done);
    });
  }

  #last(): string {
    return `last: ${JSON.stringify(this.states.at(-1)?.status)}`;
  }
}
