/** Pods that push and pull without a pause, each as one kind of client does. */
import { clientPodSpec } from './client.ts';
import { asInNarinfos, QUICK } from './closure.ts';
import type { Told } from './load-main.ts';
import { CA } from './release.ts';
import type { World } from './world.ts';

export interface LoadInit {
  /** Address of the cache's API and its pull URL, as clients have them. */
  readonly url: string;
  readonly cache: string;
  /** The Secret of a token that may write, with `token` and `netrc`. */
  readonly secret: string;
}

/** A pod that ends by itself once it is told to. */
export class LoadPod {
  readonly #world: World;
  readonly #pod: string;

  private constructor(world: World, pod: string) {
    this.#world = world;
    this.#pod = pod;
  }

  /** Clients of Cachix's protocol. */
  static async ofCachix(world: World, pod: string, { url, cache, secret }: LoadInit): Promise<LoadPod> {
    const script = `exec node /app/test/support/e2e/load-main.ts ${url} ${cache}`;
    return LoadPod.#start(world, pod, secret, script, { TOKEN_FILE: `/secrets/${secret}/token` });
  }

  /** Real nix, which pushes one path after the other and pulls each into an empty store. */
  static async ofNix(world: World, pod: string, { url, secret }: LoadInit): Promise<LoadPod> {
    const netrc = `/secrets/${secret}/netrc`;
    const script = `${QUICK}
      fails() { printf '%s: ' "$1" >> /tmp/failures; tr '\\n' ' ' < /tmp/output >> /tmp/failures; echo >> /tmp/failures; }
      touch /tmp/failures /tmp/acknowledged
      for ((turn = 0; ; turn++)); do
        if [ -e /tmp/stop ]; then break; fi
        head -c 20000 /dev/urandom > /tmp/file
        path=$(nix store add --mode flat --name "load-$turn" /tmp/file)
        if nix copy --netrc-file ${netrc} --to "${url}/push?compression=zstd" "$path" > /tmp/output 2>&1
        then echo "$path" >> /tmp/acknowledged; else fails "push $path"; fi
        rm -rf /tmp/home/.cache
        if nix copy --no-check-sigs --from "${url}" --to "/tmp/pulled/$turn" "$path" > /tmp/output 2>&1
        then echo "$turn" > /tmp/progress; else fails "pull $path"; fi
        chmod -R u+w "/tmp/pulled/$turn"; rm -rf "/tmp/pulled/$turn"
        sleep 1
      done
      nix path-info --json --json-format 1 $(< /tmp/acknowledged) > /tmp/info.json
      node -p 'const lines = (file) => fs.readFileSync(file, "utf8").split("\\n").filter(Boolean);
        const info = Object.entries(JSON.parse(fs.readFileSync("/tmp/info.json", "utf8")));
        JSON.stringify({ acknowledged: info.map(([storePath, { narHash }]) => ({ storePath, narHash })),
          downloads: lines("/tmp/acknowledged").length, failures: lines("/tmp/failures") })'`;
    return LoadPod.#start(world, pod, secret, script, { NIX_SSL_CERT_FILE: `/config/${CA}/ca.crt` });
  }

  static async #start(
    world: World,
    name: string,
    secret: string,
    script: string,
    env: Readonly<Record<string, string>>,
  ): Promise<LoadPod> {
    const spec = await clientPodSpec(script, { secrets: [secret], configMaps: [CA], env });
    await world.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
    return new LoadPod(world, name);
  }

  /** Waits until more has been pulled than when this was called. */
  async goesOn(): Promise<void> {
    const progress = async () => Number(await this.#world.kubectl(['exec', this.#pod, '--', 'cat', '/tmp/progress']));
    const before = await this.#world.until(`${this.#pod} begins`, async () => (await progress()) + 1);
    await this.#world.until(`${this.#pod} goes on`, async () => (await progress()) > before);
  }

  /** Ends it; what it has done. */
  async stop(): Promise<Told> {
    await this.#world.kubectl(['exec', this.#pod, '--', 'touch', '/tmp/stop']);
    await this.#world.wait(`pod/${this.#pod}`, 'jsonpath={.status.phase}=Succeeded');
    const log = await this.#world.kubectl(['logs', this.#pod]);
    const told = JSON.parse(log.trimEnd().split('\n').at(-1) ?? '') as Told;
    return { ...told, acknowledged: asInNarinfos(told.acknowledged) };
  }
}
