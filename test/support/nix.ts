// Real nix clients for tests: each with a home, a configuration and a store of its own, and no network by itself.
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { ensureNix } from '../../hack/components/nix.mjs';
import { isSkipped } from '../../hack/lib/skip.mjs';

/** A nix to run; see hack/components/nix.mjs. */
export type Nix = Awaited<ReturnType<typeof ensureNix>>[number];

export interface NixResult {
  /** The exit code; -1 when a signal ended it, such as that of the time limit. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as it came, for NARs. */
  readonly bytes: Buffer;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  readonly timeoutMs?: number;
}

export interface TrustOptions {
  readonly trustedKeys?: readonly string[];
  /** A netrc file with the password of a private cache. */
  readonly netrc?: string;
  /** More settings, as in nix.conf. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface PathInfo {
  readonly path: string;
  /** As SRI, `sha256-...=`. */
  readonly narHash: string;
  readonly narSize: number;
  readonly references: readonly string[];
  readonly signatures: readonly string[];
  readonly deriver?: string;
  readonly ca?: string;
}

/** A tree to add: text or bytes are files, a folder is an object, the rest is said. */
export type Tree = string | Buffer | { readonly executable: string } | { readonly symlink: string } | Folder;
export interface Folder {
  readonly entries: Readonly<Record<string, Tree>>;
}

/** A command of nix that failed, with all that it printed. */
export class NixError extends Error {
  readonly result: NixResult;

  constructor(words: readonly string[], result: NixResult) {
    super(`${words.join(' ')} ended with ${result.code}:\n${result.stderr.trim()}`);
    this.name = 'NixError';
    this.result = result;
  }
}

const DEFAULT_TIMEOUT_MS = 120_000;

/**
 * Declares the same tests for each nix, by `describe`. With NARWHAL_SKIP=nix one pending test stands for them.
 * Await it at the top of a test file: fetching nix for the first time takes a minute.
 */
export async function describeEachNix(title: string, tests: (nix: Nix) => void): Promise<void> {
  if (isSkipped('nix')) {
    describe(title, () => it.skip('with real nix (NARWHAL_SKIP=nix)'));
    return;
  }
  for (const nix of await ensureNix()) describe(`${title}, nix ${nix.label}`, () => tests(nix));
}

/** The nix of a label (2.8, 2.26, 2.34), for tests of which one is enough. */
export async function nixLabelled(label: string): Promise<Nix> {
  const found = (await ensureNix()).find((nix) => nix.label === label);
  if (!found) throw new Error(`there is no nix labelled ${label}`);
  return found;
}

export interface NixClientInit {
  readonly version: Nix;
  readonly dir: string;
  readonly settings?: Readonly<Record<string, string>>;
  /** Variables of every command. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A nix client: home, configuration and chroot store live in `dir`, which is made when absent. */
export class NixClient {
  readonly nix: Nix;
  readonly dir: string;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #env: Readonly<Record<string, string>>;
  #prepared: Promise<void> | undefined;

  constructor({ version, dir, settings = {}, env = {} }: NixClientInit) {
    this.nix = version;
    this.dir = dir;
    this.#settings = settings;
    this.#env = env;
  }

  /** Another client of the same nix that knows nothing yet. */
  fresh(name: string): NixClient {
    const dir = path.join(path.dirname(this.dir), name);
    return new NixClient({ version: this.nix, dir, settings: this.#settings, env: this.#env });
  }

  /** Removes the folder. The store's folders are read-only, which stops everyone but root. */
  async remove(): Promise<void> {
    if (process.getuid?.() !== 0) await makeWritable(this.dir);
    await fs.rm(this.dir, { recursive: true, force: true });
  }

  /** Where a store path lies on this machine. */
  fileOf(storePath: string): string {
    return path.join(this.dir, 'store', storePath);
  }

  /** Runs `nix`, `nix-store`, `nix-build` ... and tells how it ended, whatever the end. */
  async run([program, ...args]: readonly [string, ...string[]], options: RunOptions = {}): Promise<NixResult> {
    this.#prepared ??= this.#prepare();
    await this.#prepared;
    const [command, ...prefix] = this.nix.command(program);
    if (command === undefined) throw new Error(`${program} has no command`);
    // 2.26 sets its own hook after it has read nix.conf; only an option on the command line wins.
    const hook = ['--option', 'build-hook', this.#hook];
    return spawned(command, [...prefix, ...hook, ...args], {
      ...options,
      env: { ...this.#environment(), ...options.env },
    });
  }

  /** Runs a command that must succeed; its standard output without white space around it. */
  async must(words: readonly [string, ...string[]], options: RunOptions = {}): Promise<string> {
    const result = await this.run(words, options);
    if (result.code !== 0) throw new NixError(words, result);
    return result.stdout.trim();
  }

  /** Adds a file or folder of this machine under a name; answers the store path. */
  async addPath(file: string, name = path.basename(file)): Promise<string> {
    return this.must(['nix', 'store', 'add-path', '--name', name, file]);
  }

  /** Adds a tree that is written down here. */
  async addTree(name: string, tree: Tree): Promise<string> {
    const parent = await this.#temporary('tree');
    const root = path.join(parent, 'root');
    await writeTree(root, tree);
    try {
      return await this.addPath(root, name);
    } finally {
      await fs.rm(parent, { recursive: true });
    }
  }

  /** `nix copy --to`; `params` go behind the question mark of the URL. */
  async copyTo(
    url: string,
    paths: readonly string[],
    { params = {}, ...trust }: TrustOptions & { params?: Readonly<Record<string, string>> } = {},
  ): Promise<string> {
    return this.must(['nix', 'copy', '--to', withParams(url, params), ...options(trust), ...paths]);
  }

  /** `nix copy --from` into this client's store. */
  async copyFrom(
    url: string,
    paths: readonly string[],
    {
      params = {},
      checkSigs = true,
      ...trust
    }: TrustOptions & {
      params?: Readonly<Record<string, string>>;
      checkSigs?: boolean;
    } = {},
  ): Promise<string> {
    const unchecked = checkSigs ? [] : ['--no-check-sigs'];
    return this.must(['nix', 'copy', '--from', withParams(url, params), ...unchecked, ...options(trust), ...paths]);
  }

  /** `nix-store -r`: fetches paths from caches, or builds; the result of the command, whatever it is. */
  async realise(
    paths: readonly string[],
    init: TrustOptions & { substituters?: readonly string[] } = {},
  ): Promise<NixResult> {
    const { substituters = [], ...trust } = init;
    return this.run([
      'nix-store',
      '-r',
      ...paths,
      '--option',
      'substituters',
      substituters.join(' '),
      ...options(trust),
    ]);
  }

  /** `nix store verify` of everything here, contents and (with keys) signatures. */
  async verify({
    trustedKeys,
    paths,
  }: {
    trustedKeys?: readonly string[];
    paths?: readonly string[];
  } = {}): Promise<string> {
    const trust = trustedKeys ? options({ trustedKeys }) : ['--no-trust'];
    return this.must(['nix', 'store', 'verify', ...trust, ...(paths ?? ['--all'])]);
  }

  /** What nix knows of paths, in one shape for all versions. `store` asks another store, such as a cache's URL. */
  async pathInfo(paths: readonly string[], { store }: { store?: string } = {}): Promise<PathInfo[]> {
    const elsewhere = store === undefined ? [] : ['--store', store];
    const found: unknown = JSON.parse(await this.must(['nix', 'path-info', '--json', ...elsewhere, ...paths]));
    return pathInfos(found);
  }

  /** Paths and all that they need. */
  async closureOf(paths: readonly string[]): Promise<string[]> {
    return (await this.must(['nix-store', '-qR', ...paths])).split('\n');
  }

  /** The NAR of a path. */
  async dump(storePath: string): Promise<Buffer> {
    const words = ['nix-store', '--dump', this.fileOf(storePath)] as const;
    const result = await this.run(words);
    if (result.code !== 0) throw new NixError(words, result);
    return result.bytes;
  }

  /** Evaluates an expression with nix-instantiate; what it says as JSON. */
  async evaluate(expression: string): Promise<unknown> {
    const words = ['nix-instantiate', '--eval', '--strict', '--json', '--read-write-mode', '-'] as const;
    return JSON.parse(await this.must(words, { input: expression }));
  }

  /** Builds an expression; the paths of its outputs. Builders have a static /bin/sh and nothing else. */
  async build(expression: string, init: TrustOptions & { substituters?: readonly string[] } = {}): Promise<string[]> {
    const { substituters = [], ...trust } = init;
    const more = ['--option', 'substituters', substituters.join(' '), ...options(trust)];
    return (await this.must(['nix-build', '--no-out-link', '-', ...more], { input: expression })).split('\n');
  }

  /** A signing key made by nix: the file of its secret half, and the public half as text. */
  async generateKey(name: string): Promise<{ secretFile: string; publicKey: string }> {
    const folder = await this.#temporary('key');
    const secretFile = path.join(folder, 'secret');
    const publicFile = path.join(folder, 'public');
    await this.must(['nix-store', '--generate-binary-cache-key', name, secretFile, publicFile]);
    return { secretFile, publicKey: (await fs.readFile(publicFile, 'utf8')).trim() };
  }

  async #temporary(name: string): Promise<string> {
    this.#prepared ??= this.#prepare();
    await this.#prepared;
    return fs.mkdtemp(path.join(this.dir, 'tmp', `${name}-`));
  }

  async #prepare(): Promise<void> {
    for (const name of ['home', 'conf', 'tmp', 'store']) await fs.mkdir(path.join(this.dir, name), { recursive: true });
    // Nix asks a build hook before each build. Its own is nix itself by the file that runs, which is the loader here.
    await fs.writeFile(this.#hook, "#!/bin/sh\necho '# decline-permanently' >&2\nexec cat >/dev/null\n", {
      mode: 0o755,
    });
    const settings = {
      store: path.join(this.dir, 'store'),
      'experimental-features': 'nix-command flakes ca-derivations',
      // Empty, or nix goes to the public cache.
      substituters: '',
      'flake-registry': '',
      'build-users-group': '',
      sandbox: 'true',
      'sandbox-paths': `/bin/sh=${this.nix.shell}`,
      'connect-timeout': '10',
      ...this.#settings,
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
    await fs.writeFile(path.join(this.dir, 'conf', 'nix.conf'), lines.join(''));
  }

  get #hook(): string {
    return path.join(this.dir, 'conf', 'no-remote-builds');
  }

  #environment(): Record<string, string> {
    const home = path.join(this.dir, 'home');
    return {
      PATH: process.env.PATH ?? '',
      HOME: home,
      XDG_CACHE_HOME: path.join(home, '.cache'),
      XDG_CONFIG_HOME: path.join(home, '.config'),
      XDG_DATA_HOME: path.join(home, '.local/share'),
      XDG_STATE_HOME: path.join(home, '.local/state'),
      NIX_CONF_DIR: path.join(this.dir, 'conf'),
      NIX_USER_CONF_FILES: '',
      NIX_REMOTE: '',
      TMPDIR: path.join(this.dir, 'tmp'),
      LC_ALL: 'C',
      NO_COLOR: '1',
      ...this.#env,
    };
  }
}

function options({ trustedKeys, netrc, settings = {} }: TrustOptions): string[] {
  const all = {
    ...(trustedKeys ? { 'trusted-public-keys': trustedKeys.join(' ') } : {}),
    ...(netrc === undefined ? {} : { 'netrc-file': netrc }),
    ...settings,
  };
  return Object.entries(all).flatMap(([name, value]) => ['--option', name, value]);
}

function withParams(url: string, params: Readonly<Record<string, string>>): string {
  const query = Object.entries(params).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  return query.length === 0 ? url : `${url}${url.includes('?') ? '&' : '?'}${query.join('&')}`;
}

/** Up to 2.18 nix prints a list, later an object by path; from format 2 on, base names and hashes in parts. */
function pathInfos(found: unknown): PathInfo[] {
  type Raw = Record<string, unknown>;
  const list: Raw[] = Array.isArray(found)
    ? found
    : Object.entries(found as Record<string, Raw>).map(([name, info]) => ({ path: name, ...info }));
  const inStore = (name: unknown) => (String(name).startsWith('/') ? String(name) : `/nix/store/${name}`);
  return list.map((raw) => {
    const hash = raw.narHash as string | { algorithm: string; hash: string };
    return {
      path: inStore(raw.path),
      narHash: typeof hash === 'string' ? hash : `${hash.algorithm}-${hash.hash}`,
      narSize: Number(raw.narSize),
      references: ((raw.references ?? []) as string[]).map(inStore),
      signatures: (raw.signatures ?? []) as string[],
      ...(raw.deriver ? { deriver: inStore(raw.deriver) } : {}),
      ...(typeof raw.ca === 'string' ? { ca: raw.ca } : {}),
    };
  });
}

async function makeWritable(folder: string): Promise<void> {
  await fs.chmod(folder, 0o755);
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(path.join(folder, entry.name));
  }
}

async function writeTree(file: string, tree: Tree): Promise<void> {
  if (typeof tree === 'string' || Buffer.isBuffer(tree)) return fs.writeFile(file, tree);
  if ('executable' in tree) return fs.writeFile(file, tree.executable, { mode: 0o755 });
  if ('symlink' in tree) return fs.symlink(tree.symlink, file);
  await fs.mkdir(file);
  for (const [name, entry] of Object.entries(tree.entries)) await writeTree(path.join(file, name), entry);
}

function spawned(
  command: string,
  args: readonly string[],
  { env, input, timeoutMs = DEFAULT_TIMEOUT_MS }: RunOptions & { env: Record<string, string> },
): Promise<NixResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    // A command that does not read its input closes the pipe early.
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const bytes = Buffer.concat(out);
      const stderr = Buffer.concat(err).toString();
      const ending = signal === null ? '' : `\n(ended by ${signal}; the limit is ${timeoutMs} ms)`;
      resolve({ code: code ?? -1, stdout: bytes.toString(), stderr: stderr + ending, bytes });
    });
  });
}
