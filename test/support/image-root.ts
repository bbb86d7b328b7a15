/** An image as a container has it: its layers in a folder, read-only, entered as the image's user. Needs root on Linux. */
import { execFile as execFileOf } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { logFile, ServerProcess } from './server-process.ts';

const execFile = promisify(execFileOf);

export interface ImageConfig {
  readonly User: string;
  readonly Env: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly ExposedPorts?: Readonly<Record<string, unknown>>;
  readonly Labels?: Readonly<Record<string, string>>;
}

export interface RunInit {
  readonly env?: Readonly<Record<string, string>>;
  /** Folders of this machine, by where they are mounted; the rest cannot be written but for /tmp. */
  readonly mounts?: Readonly<Record<string, string>>;
}

/** Enters the root in a mount namespace that ends with the program: $1 root, $2 user, then pairs and `--`, then words. */
const ENTER = `
set -e
root=$1; user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount --rbind /dev "$root/dev"
mount --bind /proc "$root/proc"
mount -t tmpfs -o mode=1777,size=64m none "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
cd "$root"
exec chroot --userspec="$user" "$root" "$@"
`;

export class ImageRoot {
  readonly config: ImageConfig;
  readonly #folder: string;

  private constructor(folder: string, config: ImageConfig) {
    this.#folder = folder;
    this.config = config;
  }

  /** Unpacks the archive of an image into `folder`. */
  static async unpack(archive: string, folder: string): Promise<ImageRoot> {
    if (process.getuid?.() !== 0)
      throw new Error('entering an image needs root on Linux; leave this out with NARWHAL_SKIP=image');
    const blobs = path.join(folder, 'archive');
    const root = path.join(folder, 'root');
    for (const made of [blobs, root]) await fs.mkdir(made, { recursive: true });
    await execFile('tar', ['-xf', archive, '-C', blobs]);
    const [{ Config, Layers }] = await readJson(path.join(blobs, 'manifest.json'));
    for (const layer of Layers) await execFile('tar', ['-xpf', path.join(blobs, layer), '--numeric-owner', '-C', root]);
    const { config } = await readJson(path.join(blobs, Config));
    await fs.rm(blobs, { recursive: true });
    return new ImageRoot(folder, config);
  }

  get root(): string {
    return path.join(this.#folder, 'root');
  }

  /** Runs words to their end; standard output and standard error. Throws when they fail. */
  async run(words: readonly string[], init: RunInit = {}): Promise<{ stdout: string; stderr: string }> {
    const [program = '', ...args] = this.#enter(words, init);
    return execFile(program, args, { env: this.#environment(init) });
  }

  /** Starts what does not end by itself. */
  start(words: readonly string[], name: string, init: RunInit = {}): ServerProcess {
    const log = logFile(this.#folder, name);
    return new ServerProcess({ words: this.#enter(words, init), env: this.#environment(init), log });
  }

  #enter(words: readonly string[], { mounts = {} }: RunInit): string[] {
    // As runtimes make them, in a layer of the container.
    for (const point of Object.keys(mounts)) mkdirSync(path.join(this.root, point), { recursive: true });
    const pairs = Object.entries(mounts).flatMap(([to, from]) => [from, to]);
    const { User } = this.config;
    return ['unshare', '--mount', 'sh', '-c', ENTER, 'sh', this.root, User, ...pairs, '--', ...words];
  }

  /** Of the image and what the caller adds; the tools that enter the root are found on the same path. */
  #environment({ env = {} }: RunInit): Record<string, string> {
    const own = this.config.Env.map((line) => line.split(/=(.*)/s).slice(0, 2));
    const all: Record<string, string> = { ...Object.fromEntries(own), ...env };
    return { ...all, PATH: `${all.PATH}:/usr/sbin:/sbin` };
  }
}

async function readJson(file: string) {
  return JSON.parse(await fs.readFile(file, 'utf8'));
}
