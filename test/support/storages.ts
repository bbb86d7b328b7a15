/** What a running server says of its storages, and readers that look at every NAR all the time. */
import assert from 'node:assert/strict';
import type { TestPath } from './nars.ts';
import { isServed, type PushTarget } from './push.ts';
import { type TestServer, until } from './server.ts';

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
  readonly lostObjects?: number;
}

/** What `/status` says of one storage of the only cache. */
export async function storageOf(server: TestServer, name: string): Promise<StorageStatus | undefined> {
  const status = (await (await fetch(`${server.adminUrl}/status`)).json()) as {
    caches: { storages: StorageStatus[] }[];
  };
  return status.caches[0]?.storages.find((storage) => storage.name === name);
}

export interface PollerInit {
  readonly readers?: number;
  /** A connection that is refused or breaks is no failure, as for a client that tries again. Any answer still counts. */
  readonly isPatient?: boolean;
}

/** Reads every NAR over and over, all bytes of it; one that fails fails the test. */
export class Poller {
  /** How many NARs were read. */
  reads = 0;
  readonly #isPatient: boolean;
  readonly #server: PushTarget;
  readonly #paths: readonly TestPath[];
  readonly #failures: unknown[] = [];
  #stopped = false;
  #running: Promise<unknown> = Promise.resolve();

  private constructor(server: PushTarget, paths: readonly TestPath[], isPatient: boolean) {
    this.#server = server;
    this.#paths = paths;
    this.#isPatient = isPatient;
  }

  static start(server: PushTarget, paths: readonly TestPath[], init: PollerInit = {}): Poller {
    const { readers = 2, isPatient = false } = init;
    const poller = new Poller(server, paths, isPatient);
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
        // What fetch throws where there is no whole answer.
        if (this.#isPatient && error instanceof TypeError) await new Promise((resolve) => setTimeout(resolve, 20));
        else this.#failures.push(error);
      }
    }
  }
}

/** Looks at storages, and removes what need not stay, without waiting for it. */
export const FAST = [
  ...['--storage-retry', '0.05', '--transient-retry', '0.2'],
  ...['--housekeeping-interval', '0.1', '--move-grace', '0.1'],
];

/** Waits until a storage is in a phase; fails with what it was in instead. */
export async function untilPhase(server: TestServer, name: string, phase: string): Promise<void> {
  let last: StorageStatus | undefined;
  await until(`${name} is ${phase}`, async () => {
    last = await storageOf(server, name);
    return last?.phase === phase;
  }).catch((error: unknown) => {
    throw new Error(`${name} is not ${phase} but ${JSON.stringify(last)}`, { cause: error });
  });
}

/** Changes the manifest of a running server and waits until it runs with it. */
export async function applyManifest(server: TestServer, text: string): Promise<void> {
  const seen = server.output.length;
  await server.writeManifest(text);
  await until('the change is applied', () => server.output.includes('the changed manifests are applied', seen));
}

/** For a server that is expected not to start. */
export function serveArgs(server: TestServer): string[] {
  const ports = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
  return ['-f', server.manifestFile, '--data', server.data, ...ports];
}
