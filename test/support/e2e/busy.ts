/** A pod whose clients push to and pull from one cache without an end, and what they have seen. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import type { BusyLine, Deed } from './busy-main.ts';
import { clientPodSpec } from './client.ts';
import { ownCluster } from './containers.ts';
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

  /** What happened from a moment on, in milliseconds since 1970. */
  async lines(from = 0): Promise<BusyLine[]> {
    return linesIn(await this.#world.kubectl(['logs', this.pod])).filter(({ at }) => at >= from);
  }

  /** Waits until pushes and pulls have succeeded after that moment. */
  async goesOn(after = Date.now()): Promise<void> {
    await this.#world.until(`pushes and pulls of ${this.cache}`, async () => {
      const lines = await this.lines(after);
      return has(lines, 'pushed') && has(lines, 'pulled');
    });
  }

  /** As `goesOn`, while there is nobody to ask: what the pod has written is read at its node, which must be ours. */
  async goesOnByItself(after = Date.now()): Promise<void> {
    const folder = path.join(ownCluster(this.#world).machine.folder, 'pods');
    const name = fs.readdirSync(folder).find((it) => it.startsWith(`${this.#world.namespace}_${this.pod}_`));
    const file = path.join(folder, name ?? '', 'client/0.log');
    await this.#world.until(`pushes and pulls of ${this.cache}`, async () => {
      // Behind a time, the name of a stream, and a mark.
      const log = fs.readFileSync(file, 'utf8').replace(/^\S+ \S+ \S+ /gm, '');
      const lines = linesIn(log).filter(({ at }) => at >= after);
      return has(lines, 'pushed') && has(lines, 'pulled');
    });
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

function linesIn(log: string): BusyLine[] {
  const lines = log.split('\n').filter((line) => /^\{.*\}$/.test(line));
  return lines.map((line) => JSON.parse(line) as BusyLine);
}

function has(lines: readonly BusyLine[], did: Deed): boolean {
  return lines.some((line) => line.did === did);
}
