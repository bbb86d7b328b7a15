/** A pod that reads a cache without a pause, and tells what it has seen. */
import assert from 'node:assert/strict';
import { clientPodSpec } from './client.ts';
import type { KnownPath, Seen } from './poller-main.ts';
import type { World } from './world.ts';

const POD = 'poller';
const URL = 'http://127.0.0.1:8000/';
/** Readers in the pod. */
const READERS = 2;

export class Poller {
  readonly #world: World;

  private constructor(world: World) {
    this.#world = world;
  }

  /** Resolves once all of `paths` has been read. @param url of the cache, as clients have it */
  static async start(world: World, url: string, paths: readonly KnownPath[]): Promise<Poller> {
    const spec = await clientPodSpec(`exec node /app/test/support/e2e/poller-main.ts ${url} ${READERS}`);
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: POD }, spec });
    const poller = new Poller(world);
    await world.until('the poller listens', () => poller.add(paths).then(() => true));
    await poller.round();
    return poller;
  }

  /** Paths that are read from now on too. */
  async add(paths: readonly KnownPath[]): Promise<void> {
    const curl = ['exec', '-i', POD, '--', 'curl', '-fsS', '--data-binary', '@-', URL];
    await this.#world.kubectl(curl, { input: JSON.stringify(paths) });
  }

  /** What it has seen since it was asked last. */
  async take(): Promise<Seen> {
    return JSON.parse(await this.#world.kubectl(['exec', POD, '--', 'curl', '-fsS', URL])) as Seen;
  }

  /** Waits until all paths have been read once more, and fails if anything went wrong since the last question. */
  async round(): Promise<void> {
    const { unconnected } = await this.restarted();
    assert.equal(unconnected, 0, 'every connection is taken');
  }

  /** The same after a restart of the only pod, when connections were not taken for a while. The new pod must be there. */
  async restarted(): Promise<Seen> {
    // What it has read until now may have been before the restart.
    const sum: Seen = { ...(await this.take()), rounds: 0 };
    await this.#world.until('the poller has read all paths', async () => {
      const { reads, rounds, unconnected, failures, examples } = await this.take();
      sum.reads += reads;
      sum.rounds += rounds;
      sum.unconnected += unconnected;
      sum.failures += failures;
      sum.examples.push(...examples);
      return sum.failures > 0 || sum.rounds > 1;
    });
    assert.deepEqual([sum.failures, sum.examples], [0, []]);
    return sum;
  }
}
