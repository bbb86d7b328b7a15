/** A server as the operator runs it: configured by environment variables, everything else mounted into it. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { ServerStatus } from '../../crds/index.ts';
import { MountedFolder } from './mounted.ts';
import { TestServer, until } from './server.ts';

type Values = Readonly<Record<string, string>>;

export interface PodInit {
  readonly manifest: string;
  /** Values of the mounted Secrets by name. */
  readonly secrets?: Readonly<Record<string, Values>>;
  /** Local storages whose volumes are mounted from the beginning. */
  readonly volumes?: readonly string[];
  readonly env?: Values;
  /** Texts of tokens, for requests. */
  readonly tokens?: Values;
}

export class Pod {
  readonly folder: string;
  readonly config: MountedFolder;
  readonly #init: PodInit;
  readonly #secrets = new Map<string, MountedFolder>();
  #server: TestServer | undefined;

  private constructor(folder: string, config: MountedFolder, init: PodInit) {
    this.folder = folder;
    this.config = config;
    this.#init = init;
  }

  /** Everything but the process. */
  static async create(init: PodInit): Promise<Pod> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-pod-'));
    const config = await MountedFolder.create(path.join(folder, 'config'), { 'cache.yaml': init.manifest });
    const pod = new Pod(folder, config, init);
    for (const name of ['secrets', 'storages']) await mkdir(path.join(folder, name));
    for (const [name, values] of Object.entries(init.secrets ?? {})) await pod.setSecret(name, values);
    for (const name of init.volumes ?? ['disk']) await pod.mount(name);
    return pod;
  }

  static async start(init: PodInit): Promise<Pod> {
    const pod = await Pod.create(init);
    try {
      await pod.start();
    } catch (error) {
      await pod.remove();
      throw error;
    }
    return pod;
  }

  get server(): TestServer {
    if (this.#server === undefined) throw new Error('the pod has not been started');
    return this.#server;
  }

  /** All that the process is told. */
  get env(): Values {
    return {
      NARWHAL_FILE: path.join(this.folder, 'config'),
      NARWHAL_SECRETS: path.join(this.folder, 'secrets'),
      NARWHAL_STORAGES: path.join(this.folder, 'storages'),
      NARWHAL_DATA: path.join(this.folder, 'data'),
      NARWHAL_LISTEN: ':0',
      NARWHAL_ADMIN_LISTEN: ':0',
      NARWHAL_API_URL: 'https://cache.example.org',
      NARWHAL_SHUTDOWN_GRACE: '30',
      NARWHAL_LOG_LEVEL: 'debug',
      NARWHAL_LOG_FORMAT: 'json',
      NARWHAL_RELOAD_INTERVAL: '0.05',
      NARWHAL_STORAGE_RETRY: '0.05',
      ...this.#init.env,
    };
  }

  async start(): Promise<void> {
    const { tokens } = this.#init;
    this.#server = await TestServer.start({ folder: this.folder, flags: [], env: this.env, ...(tokens && { tokens }) });
  }

  /** Gives a Secret these values; none at all is a Secret that is not there. */
  async setSecret(name: string, values: Values): Promise<void> {
    const folder = this.#secrets.get(name);
    if (folder !== undefined) return folder.write(values);
    this.#secrets.set(name, await MountedFolder.create(path.join(this.folder, 'secrets', name), values));
  }

  volume(name: string): string {
    return path.join(this.folder, 'storages', name);
  }

  /** An empty volume for a local storage. */
  async mount(name: string): Promise<void> {
    await mkdir(this.volume(name));
  }

  async status(): Promise<ServerStatus> {
    return (await (await fetch(`${this.server.adminUrl}/status`)).json()) as ServerStatus;
  }

  /** Writes the manifest and waits until it runs. */
  async apply(manifest: string): Promise<void> {
    const { config } = await this.status();
    await this.config.write({ 'cache.yaml': manifest });
    await until('the manifest runs', async () => {
      const now = (await this.status()).config;
      return now.error === null && now.files[0]?.sha256 !== config.files[0]?.sha256;
    });
  }

  async remove(): Promise<void> {
    await this.#server?.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
