/** A pod whose clients push to and pull from one cache without an end, and what they have seen. */
import assert from 'node:assert/strict';
import type { BusyLine, Deed } from './busy-main.ts';
import { clientPodSpec } from './client.ts';
import { type Acknowledged, trusting } from './pulls.ts';
import { API_HOST, CA } from './release.ts';
import type { World } from './world.ts';

export interface BusyInit {
  readonly cache: string;
  /** The Secret of the token to push with. */
  readonly secret?: string;
  /** Of one path. */
  readonly bytes?: number;
}

export class Busy {
  readonly #world: World;
  readonly cache: string;
  readonly pod: string;

  private constructor(world: World, cache: string) {
    this.#world = world;
    this.cache = cache;
    this.pod = `busy-${cache}`;
  }

  /** Through the gateway, as users do. Returns once something was pushed and pulled. */
  static async start(world: World, { cache, secret = `${cache}-token-push`, bytes = 3000 }: BusyInit): Promise<Busy> {
    const busy = new Busy(world, cache);
    const env = {
      ...trusting(CA),
      HOST: `https://${API_HOST}`,
      CACHE: cache,
      PULL: `https://${cache}.${API_HOST}`,
      TOKEN_FILE: `/secrets/${secret}/token`,
      BYTES: String(bytes),
    };
    const script = 'exec node /app/test/support/e2e/busy-main.ts';
    const spec = await clientPodSpec(script, { secrets: [secret], configMaps: [CA], env });
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: busy.pod }, spec });
    await busy.goesOn(0);
    return busy;
  }

  /** What happened in a time, both in milliseconds since 1970. */
  async lines(from = 0, to = Number.POSITIVE_INFINITY): Promise<BusyLine[]> {
    const log = await this.#world.kubectl(['logs', this.pod]);
    const lines = log.split('\n').filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as BusyLine).filter(({ at }) => at >= from && at < to);
  }

  /** Waits until pushes and pulls have succeeded after that moment. */
  async goesOn(after = Date.now()): Promise<void> {
    await this.#world.until(`pushes and pulls of ${this.cache}`, async () => {
      const lines = await this.lines(after);
      return has(lines, 'pushed') && has(lines, 'pulled');
    });
  }

  /** Fails unless pushes and pulls went on in that time. */
  async assertWentOn(from: number, to: number): Promise<void> {
    const lines = await this.lines(from, to);
    for (const did of ['pushed', 'pulled'] as const)
      assert.ok(has(lines, did), `nothing was ${did} meanwhile:\n${JSON.stringify(lines.slice(0, 5))}`);
  }

  /** Ends it; everything that was acknowledged. Fails where a client gave up or something was lost. */
  async stop(): Promise<Acknowledged[]> {
    await this.#world.kubectl(['exec', this.pod, '--', 'touch', '/tmp/stop']);
    await this.#world.wait(`pod/${this.pod}`, 'jsonpath={.status.phase}=Succeeded');
    const lines = await this.lines();
    const bad = lines.filter(({ did }) => did === 'lost' || did === 'gave up');
    assert.deepEqual(bad, []);
    return lines.flatMap(({ did, storePath, narHash }) =>
      did === 'pushed' && storePath !== undefined && narHash !== undefined ? [{ storePath, narHash }] : [],
    );
  }
}

function has(lines: readonly BusyLine[], did: Deed): boolean {
  return lines.some((line) => line.did === did);
}
