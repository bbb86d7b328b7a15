/** Pods that pull or push again and again while something happens to the cache, and remember how each time ended. */
import { BUILDING, buildCommand, forgetCommand, pullCommand } from './builds.ts';
import { type ClientInit, clientPodSpec } from './client.ts';
import type { World } from './world.ts';

/** What a client meets while there is no server, or one that stops: nix says it so when it has given up. */
const ABSENCE =
  /Could not connect|Couldn't connect|Failed to connect|Connection refused|Connection reset|Recv failure|Empty reply|HTTP error 50[234]|timed out/i;
/** What is never said for such a reason. */
const WRONG = /HTTP error 4|signature|hash mismatch|is not valid/;

export class Loop {
  readonly #world: World;
  readonly name: string;

  private constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
  }

  /** Pulls the same paths with signatures required, each time into an empty store. @param key trusted at first */
  static pulling(world: World, name: string, { url, key, paths }: { url: string; key: string; paths: string[] }) {
    const pull = pullCommand({ url, trustedKeys: ['$setting'] }, paths, '/tmp/pulled');
    return Loop.#start(world, name, { setting: key, before: forgetCommand('/tmp/pulled'), command: pull });
  }

  /** Builds another path each time and pushes it. @param secret of the token */
  static pushing(world: World, name: string, { url, secret }: { url: string; secret: string }) {
    const push = `nix copy --netrc-file /secrets/${secret}/netrc --to '${url}/push?compression=zstd' "$path"`;
    const command = `${push} && echo "$path"`;
    const before = `path=$(${buildCommand(`${name}-$round`)} 2> /dev/null)`;
    return Loop.#start(world, name, { before: `${BUILDING}\n${before}`, command, secrets: [secret] });
  }

  static async #start(
    world: World,
    name: string,
    { setting = '', before, command, ...init }: { setting?: string; before: string; command: string } & ClientInit,
  ): Promise<Loop> {
    const script = `
      echo '${setting}' > /tmp/setting
      round=0
      while true; do
        round=$((round + 1))
        setting=$(cat /tmp/setting)
        ${before}
        if said=$({ ${command}; } 2> /tmp/error); then echo "done: $said"
        else echo "failed: $(tr '\\n' ' ' < /tmp/error)"; fi
        sleep 0.5
      done`;
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: await clientPodSpec(script, init) });
    await world.wait(`pod/${name}`, 'condition=Ready');
    const loop = new Loop(world, name);
    await loop.goesOn();
    return loop;
  }

  /** From the next pull on it trusts this key alone. */
  async trust(key: string): Promise<void> {
    const script = `echo '${key}' > /tmp/next && mv /tmp/next /tmp/setting`;
    await this.#world.kubectl(['exec', this.name, '--', 'sh', '-ec', script]);
  }

  /** Waits until it has done it again: once to end what it was at, and once wholly after now. */
  async goesOn(): Promise<void> {
    const at = (await this.done()).length;
    await this.#world.until(`${this.name} goes on`, async () => (await this.done()).length >= at + 2);
  }

  /** What was said at the end of each round that went well: of pushing, the path that was acknowledged. */
  done(): Promise<string[]> {
    return this.#lines('done: ');
  }

  /** What nix said at the end of each round that it gave up. */
  failures(): Promise<string[]> {
    return this.#lines('failed: ');
  }

  /** Failures that tell of anything but a server that was not there. */
  async wrongAnswers(): Promise<string[]> {
    return (await this.failures()).filter((line) => !ABSENCE.test(line) || WRONG.test(line));
  }

  async stop(): Promise<void> {
    await this.#world.kubectl(['delete', `pod/${this.name}`]);
  }

  async #lines(start: string): Promise<string[]> {
    const log = await this.#world.kubectl(['logs', this.name]);
    return log.split('\n').flatMap((line) => (line.startsWith(start) ? [line.slice(start.length)] : []));
  }
}
