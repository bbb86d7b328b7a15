/** What a running server says of its storages, and readers that look at every NAR all the time. */
import assert from 'node:assert/strict';
import type { TestPath } from './nars.ts';
import { isServed } from './push.ts';
import type { TestServer } from './server.ts';

export interface StorageStatus {
  readonly name: string;
  readonly phase: string;
  readonly reason?: string;
  readonly lastError?: string;
  readonly objects?: number;
  readonly bytes?: number;
  readonly tombstones?: number;
  readonly movedObjects?: number;
  readonly movedBytes?: number;
  readonly failedObjects?: number;
}

/** What `/status` says of one storage of the only cache. */
export async function storageOf(server: TestServer, name: string): Promise<StorageStatus | undefined> {
  const status = (await (await fetch(`${server.adminUrl}/status`)).json()) as {
    caches: { storages: StorageStatus[] }[];
  };
  return status.caches[0]?.storages.find((storage) => storage.name === name);
}

/** Reads every NAR over and over, all bytes of it; one that fails fails the test. */
export class Poller {
  /** How many NARs were read. */
  reads = 0;
  readonly #server: TestServer;
  readonly #paths: readonly TestPath[];
  readonly #failures: unknown[] = [];
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(server: TestServer, paths: readonly TestPath[]) {
    this.#server = server;
    this.#paths = paths;
  }

  static start(server: TestServer, paths: readonly TestPath[], readers = 3): Poller {
    const poller = new Poller(server, paths);
    poller.#running = Promise.all(Array.from({ length: readers }, (_, reader) => poller.#read(reader)));
    return poller;
  }

  /** Fails if a read failed, or if there were none. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    assert.deepEqual(this.#failures, []);
    assert.ok(this.reads > 0);
  }

  async #read(first: number): Promise<void> {
    for (let turn = first; !this.#stopped; turn++) {
      const path = this.#paths[turn % this.#paths.length];
      if (path === undefined) return;
      try {
        assert.ok(await isServed(this.#server, path), `${path.storePath} is not served`);
        this.reads++;
      } catch (error) {
        this.#failures.push(error);
      }
    }
  }
}
