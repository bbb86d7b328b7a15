/** A pod that pulls the same paths again and again, with signatures required, and remembers how each time ended. */
import { pullCommand } from './builds.ts';
import { clientPodSpec } from './client.ts';
import type { World } from './world.ts';

/** What a client meets while there is no server, or one that stops: nix says it so when it has given up. */
const ABSENCE =
  /Could not connect|Couldn't connect|Failed to connect|Connection refused|Connection reset|Recv failure|Empty reply|HTTP error 50[234]|Connection timed out/i;

export class Puller {
  readonly #world: World;
  readonly #name: string;

  private constructor(world: World, name: string) {
    this.#world = world;
    this.#name = name;
  }

  /** @param trustedKeys which it trusts at first */
  static async start(
    world: World,
    name: string,
    { url, trustedKeys, paths }: { url: string; trustedKeys: readonly string[]; paths: readonly string[] },
  ): Promise<Puller> {
    const command = pullCommand({ url, trustedKeys: ['$keys'] }, paths, '/tmp/pulled');
    const script = `
      echo '${trustedKeys.join(' ')}' > /tmp/keys
      while true; do
        keys=$(cat /tmp/keys)
        if ${command} 2> /tmp/error; then echo "pulled by $keys"
        else echo "failed: $(tr '\\n' ' ' < /tmp/error)"; fi
        if [ -e /tmp/pulled ]; then chmod -R u+w /tmp/pulled; rm -rf /tmp/pulled; fi
        sleep 0.2
      done`;
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: await clientPodSpec(script) });
    await world.wait(`pod/${name}`, 'condition=Ready');
    const puller = new Puller(world, name);
    await puller.goesOn();
    return puller;
  }

  /** From the next pull on it trusts these keys alone. */
  async trust(...keys: readonly string[]): Promise<void> {
    const script = `echo '${keys.join(' ')}' > /tmp/next && mv /tmp/next /tmp/keys`;
    await this.#world.kubectl(['exec', this.#name, '--', 'sh', '-ec', script]);
  }

  /** Waits until it has pulled again: once to end what it was at, and once wholly after now. */
  async goesOn(): Promise<void> {
    const at = (await this.#pulls()).length;
    await this.#world.until(`${this.#name} has pulled again`, async () => (await this.#pulls()).length >= at + 2);
  }

  /** Pulls that were given up, by what nix said. */
  async failures(): Promise<string[]> {
    return (await this.#lines()).filter((line) => line.startsWith('failed: '));
  }

  /** Those of them that tell of anything but a server that was not there. */
  async wrongAnswers(): Promise<string[]> {
    return (await this.failures()).filter((line) => !ABSENCE.test(line) || /HTTP error 4|signature|hash/.test(line));
  }

  async #pulls(): Promise<string[]> {
    return (await this.#lines()).filter((line) => line.startsWith('pulled by '));
  }

  async #lines(): Promise<string[]> {
    return (await this.#world.kubectl(['logs', this.#name])).split('\n').filter(Boolean);
  }
}
