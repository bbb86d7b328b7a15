/** A real gateway in a process of its own, on free ports, with its routing table in a file. */
import { createHash } from 'node:crypto';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { CacheRoute, GatewayStatus } from '../../crds/index.ts';
import { OwnProcess } from './own-process.ts';
import { until } from './server.ts';

export interface TestTable {
  readonly apiUrl?: string;
  readonly aliases?: readonly string[];
  readonly caches: Readonly<Record<string, Partial<CacheRoute> & { readonly url: string }>>;
}

export interface TestGatewayInit {
  readonly table: TestTable;
  /** Further flags of `gateway`. */
  readonly args?: readonly string[];
  readonly nodeArgs?: readonly string[];
  /** `--routes`; the default is the file with the table. */
  readonly routes?: string;
}

export class TestGateway {
  readonly folder: string;
  #process: OwnProcess | undefined;
  #output = '';

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Resolves once it runs the table, if that is in its file. */
  static async start(init: TestGatewayInit): Promise<TestGateway> {
    const gateway = new TestGateway(await mkdtemp(path.join(os.tmpdir(), 'narwhal-gateway-')));
    await gateway.writeTable(init.table);
    const { nodeArgs, args = [], routes = `file:${gateway.tableFile}` } = init;
    const words = [
      ...['gateway', '--routes', routes, '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'],
      ...['--log-level', 'debug', '--log-format', 'json', '--reload-interval', '0.05', '--shutdown-delay', '0'],
      ...args,
    ];
    try {
      gateway.#process = await OwnProcess.start({
        ...{ nodeArgs, words },
        log: path.basename(gateway.folder),
        onOutput: (text) => {
          gateway.#output += text;
        },
      });
      if (init.routes === undefined) await gateway.isReady();
    } catch (error) {
      await gateway.remove();
      throw error;
    }
    return gateway;
  }

  get tableFile(): string {
    return path.join(this.folder, 'routes.json');
  }

  get port(): number {
    return Number(this.#process?.listen[0]?.split(':').at(-1));
  }

  /** `http://127.0.0.1:port` */
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get adminUrl(): string {
    return `http://${this.#process?.admin ?? ''}`;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  get output(): string {
    return this.#output;
  }

  /** In one step, as editors do; the text that was written. */
  async writeTable({ apiUrl = 'http://cache.test', ...table }: TestTable): Promise<string> {
    const text = JSON.stringify({ apiUrl, ...table });
    await this.writeText(text);
    return text;
  }

  async writeText(text: string): Promise<void> {
    await writeFile(`${this.tableFile}.new`, text);
    await rename(`${this.tableFile}.new`, this.tableFile);
  }

  /** Writes another table and waits until it runs. */
  async useTable(table: TestTable): Promise<void> {
    const sha256 = createHash('sha256')
      .update(await this.writeTable(table))
      .digest('hex');
    await until('the table runs', async () => {
      const { routes, error } = await this.status();
      return routes?.sha256 === sha256 && error === null;
    });
  }

  async status(): Promise<GatewayStatus> {
    return (await (await fetch(`${this.adminUrl}/status`)).json()) as GatewayStatus;
  }

  isReady(): Promise<void> {
    return until('the gateway is ready', async () => (await fetch(`${this.adminUrl}/readyz`)).status === 200);
  }

  /** Value of a series of `/metrics`; 0 where there is none. @param series with its labels, as it is printed */
  async metric(series: string): Promise<number> {
    const text = await (await fetch(`${this.adminUrl}/metrics`)).text();
    const line = text.split('\n').find((it) => it.startsWith(`${series} `));
    return Number(line?.slice(series.length) ?? 0);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    return this.#process?.stop(signal) ?? null;
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
