/** Clients that push and pull without a pause, and remember what was acknowledged: nothing of it may ever be missing. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { formatHash, sha256 } from '../../server/nix/index.ts';
import { CachixClient, type CachixClientInit } from './cachix-client.ts';
import { type Pushable, pushable } from './cachix-paths.ts';
import { until } from './until.ts';

/** nix asks five times for a file before it gives up. */
const TRIES = 5;

export interface LoadInit {
  /** How a Cachix client pushes. */
  readonly push: Pick<CachixClientInit, 'host' | 'token' | 'proxy'>;
  /** Where NARs are read: the URL of the cache. */
  readonly pull: string;
  readonly pushers?: number;
  readonly pullers?: number;
  /** Name of the cache; `main` unless told. */
  readonly cache?: string;
  /** Between two pushes, or pulls, of one client. */
  readonly pauseMs?: number;
}

export class Load {
  readonly acknowledged: Pushable[] = [];
  /** Of clients that gave up. */
  readonly failures: string[] = [];
  readonly #init: LoadInit;
  #downloads = 0;
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(init: LoadInit) {
    this.#init = init;
  }

  /** Resolves once there is load. */
  static async start(init: LoadInit): Promise<Load> {
    const load = new Load(init);
    const { pushers = 2, pullers = 3 } = init;
    const clients = [
      ...Array.from({ length: pushers }, () => load.#push()),
      ...Array.from({ length: pullers }, () => load.#pull()),
    ];
    load.#running = Promise.all(clients);
    try {
      await Promise.race([load.goesOn(), load.#running]);
      return load;
    } catch (error) {
      load.#stopped = true;
      throw error;
    }
  }

  /** Whole paths that were read. */
  get downloads(): number {
    return this.#downloads;
  }

  /** Waits for more downloads. */
  async goesOn(): Promise<void> {
    const at = this.#downloads;
    await until('the load goes on', () => this.#downloads > at + 20);
  }

  /** Ends it, and fails if a client had to give up. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    this.assertNoFailure();
  }

  assertNoFailure(): void {
    assert.deepEqual(this.failures, []);
  }

  /** Reads everything that was acknowledged. */
  async assertNothingLost(): Promise<void> {
    for (const it of this.acknowledged) await this.#pullOne(it);
    this.assertNoFailure();
  }

  async #push(): Promise<void> {
    const client = new CachixClient({
      ...this.#init.push,
      cache: this.#init.cache ?? 'main',
      delay: (ms) => new Promise((resolve) => setTimeout(resolve, Math.min(ms, 200))),
    });
    while (!this.#stopped) {
      const paths = await Promise.all([pushable({ contents: randomBytes(3000) }), pushable()]);
      await client.push(paths);
      this.acknowledged.push(...paths);
      await this.#pause();
    }
    client.close();
  }

  /** Asks for any acknowledged path and compares every byte. */
  async #pull(): Promise<void> {
    while (!this.#stopped) {
      const it = this.acknowledged[Math.floor(Math.random() * this.acknowledged.length)];
      if (it === undefined) await new Promise(setImmediate);
      else await this.#pullOne(it);
      await this.#pause();
    }
  }

  async #pause(): Promise<void> {
    const { pauseMs = 0 } = this.#init;
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }

  async #pullOne(it: Pushable): Promise<void> {
    const base = this.#init.pull;
    const seen: string[] = [];
    for (let attempt = 0; attempt < TRIES; attempt++) {
      try {
        const narinfo = await fetch(`${base}/${it.claim.cStoreHash}.narinfo`);
        const text = await narinfo.text();
        // A 404 is an answer, which no client asks for again.
        if (narinfo.status === 404) break;
        const nar = await fetch(`${base}/${/^URL: (.*)$/m.exec(text)?.[1]}`);
        const bytes = Buffer.from(await nar.arrayBuffer());
        if (narinfo.status === 200 && nar.status === 200) {
          assert.equal(formatHash(sha256(bytes)), /^FileHash: (.*)$/m.exec(text)?.[1]);
          this.#downloads++;
          return;
        }
        seen.push(`${narinfo.status} ${nar.status}`);
      } catch (error) {
        seen.push(String(error));
      }
      await new Promise((resolve) => setTimeout(resolve, 100 * 2 ** attempt));
    }
    this.failures.push(`${it.claim.cStoreHash}: ${seen.join(', ') || '404'}`);
  }
}
