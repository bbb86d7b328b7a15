/** A real narwhal-server in a process of its own, on free ports, with its data in a temporary folder. */
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { OwnProcess } from './own-process.ts';

export { until } from './until.ts';

export interface ServerInit {
  /** Manifests; the default is one public cache `main` with the token `push` (Write) and a storage `disk`. */
  readonly manifest?: string;
  /** Further flags of `serve`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Instead of the flags that every other server gets: all of it comes by these and the environment. */
  readonly flags?: readonly string[];
  /** An existing folder to go on with; it is then not removed. */
  readonly folder?: string;
  /** Texts of tokens that the manifest gives by Secrets; others are read from the data folder. */
  readonly tokens?: Readonly<Record<string, string>>;
  /** Flags for node itself, such as --max-old-space-size. */
  readonly nodeArgs?: readonly string[];
}

/** A manifest of one cache; `spec` are lines of YAML that are indented by two spaces here. */
export function cacheManifest(name: string, spec: string): string {
  const lines = spec
    .trimEnd()
    .split('\n')
    .map((line) => `  ${line}`);
  return `apiVersion: narwhal.dev/v1alpha1\nkind: BinaryCache\nmetadata:\n  name: ${name}\nspec:\n${lines.join('\n')}\n`;
}

/** Tokens `read`, `push` and `admin`, one storage `disk`. */
export const standardSpec = `storages:
  - name: disk
    local: {}
tokens:
  - {name: read, permissions: [Read]}
  - {name: push, permissions: [Write]}
  - {name: admin, permissions: [Admin]}
`;

export class TestServer {
  /** Holds `cache.yaml` and `data`. */
  readonly folder: string;
  readonly #init: ServerInit;
  #process: OwnProcess | undefined;
  #output = '';

  private constructor(folder: string, init: ServerInit) {
    this.folder = folder;
    this.#init = init;
  }

  static async start(init: ServerInit = {}): Promise<TestServer> {
    const folder = init.folder ?? (await mkdtemp(path.join(os.tmpdir(), 'narwhal-test-')));
    const server = new TestServer(folder, init);
    await mkdir(folder, { recursive: true });
    if (init.folder === undefined || init.manifest !== undefined) {
      await server.writeManifest(init.manifest ?? cacheManifest('main', standardSpec));
    }
    try {
      await server.restart();
    } catch (error) {
      // Many tests want a start that is refused.
      if (init.folder === undefined) await rm(folder, { recursive: true, force: true });
      throw error;
    }
    return server;
  }

  get data(): string {
    return path.join(this.folder, 'data');
  }

  get manifestFile(): string {
    return path.join(this.folder, 'cache.yaml');
  }

  /** `http://127.0.0.1:port`; with one cache, any host is its host. */
  get url(): string {
    return `http://${this.#process?.listen[0] ?? ''}`;
  }

  get port(): number {
    return Number(this.#process?.listen[0]?.split(':').at(-1));
  }

  get adminUrl(): string {
    return `http://${this.#process?.admin ?? ''}`;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** Everything that the server has logged and printed. */
  get output(): string {
    return this.#output;
  }

  /** `http://127.0.0.1:port/api/v1/cache/<cache>` */
  api(cache = 'main'): string {
    return `${this.url}/api/v1/cache/${cache}`;
  }

  /** In one step: a server that looks meanwhile sees the old one or the new one. */
  async writeManifest(text: string): Promise<void> {
    await writeFile(`${this.manifestFile}.new`, text);
    await rename(`${this.manifestFile}.new`, this.manifestFile);
  }

  async token(name = 'push', cache = 'main'): Promise<string> {
    const given = this.#init.tokens?.[name];
    if (given !== undefined) return given;
    return (await readFile(path.join(this.data, cache, 'tokens', name), 'utf8')).trim();
  }

  /** `{ authorization }` for a token. */
  async auth(name = 'push', cache = 'main'): Promise<Record<string, string>> {
    return { authorization: `Bearer ${await this.token(name, cache)}` };
  }

  /** `name:base64` of the cache's first key. */
  async publicKey(cache = 'main'): Promise<string> {
    const response = await fetch(this.api(cache), { headers: await this.auth('push', cache) });
    const info: unknown = await response.json();
    if (
      typeof info !== 'object' ||
      info === null ||
      !('publicSigningKeys' in info) ||
      !Array.isArray(info.publicSigningKeys)
    )
      throw new Error('no keys');
    return String(info.publicSigningKeys[0]);
  }

  /** Starts the process (again) with the same folder; the ports change. */
  async restart(args: readonly string[] = []): Promise<void> {
    const words = [
      ...['serve', '-f', this.manifestFile, '--data', this.data],
      ...['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'],
      ...['--log-level', 'debug', '--log-format', 'json', '--reload-interval', '0.05'],
      ...(this.#init.args ?? []),
      ...args,
    ];
    const { env, nodeArgs, flags = words } = this.#init;
    this.#process = await OwnProcess.start({
      ...{ env, nodeArgs, words: flags },
      log: path.basename(this.folder),
      onOutput: (text) => {
        this.#output += text;
      },
    });
  }

  /** SIGTERM and wait; the exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    return this.#process?.stop(signal) ?? null;
  }

  /** Waits until the process has ended by itself; the exit code. */
  async ended(): Promise<number | null> {
    return this.#process?.ended ?? null;
  }

  /** Stops the server and removes its folder. */
  async remove(): Promise<void> {
    await this.stop();
    if (this.#init.folder === undefined) await rm(this.folder, { recursive: true, force: true });
  }
}
