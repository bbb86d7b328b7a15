/** A real etcd of one member on a free port, with its data in a folder; what a test's API server keeps its objects in. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { ensureProgram } from '../../hack/components/programs.mjs';
import { onFreePort, ServerProcess } from './server-process.ts';

/** Of all of etcd's answers only these fields are read. */
interface EtcdAnswer {
  readonly header: { readonly revision: string };
  readonly members?: readonly { readonly name: string }[];
}

export class Etcd {
  readonly #folder: string;
  readonly #name = `test-${randomBytes(8).toString('hex')}`;
  #port = 0;
  #process: ServerProcess | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async start(folder: string): Promise<Etcd> {
    const etcd = new Etcd(folder);
    await mkdir(folder, { recursive: true });
    const program = await ensureProgram('etcd');
    await onFreePort((port) => etcd.#startOn(port, program));
    return etcd;
  }

  /** `http://127.0.0.1:port` */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** Forgets all that was before the current revision; that revision. */
  async compact(): Promise<string> {
    const { header } = await this.#call('kv/range', { key: Buffer.from('/').toString('base64') });
    await this.#call('kv/compaction', { revision: header.revision, physical: true });
    return header.revision;
  }

  /** Ends it at once. */
  async stop(): Promise<void> {
    await this.#process?.stop('SIGKILL');
  }

  async #startOn(port: number, program: readonly string[]): Promise<void> {
    this.#port = port;
    const flags = {
      name: this.#name,
      'data-dir': path.join(this.#folder, 'data'),
      'listen-client-urls': this.url,
      'advertise-client-urls': this.url,
      // No other member ever calls here.
      'listen-peer-urls': 'http://127.0.0.1:0',
      // In ms: it is elected by itself, and the default is a second.
      'heartbeat-interval': 10,
      'election-timeout': 100,
    };
    const server = new ServerProcess({
      words: [
        ...program,
        ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
        // What a power cut would leave of a test's data is nobody's concern.
        '--unsafe-no-fsync',
      ],
      // Nothing of ours: every flag of etcd is a variable as well.
      env: {},
      log: path.join(this.#folder, 'log'),
    });
    this.#process = server;
    await server.untilReady(async () => {
      const { members } = await this.#call('cluster/member/list', {});
      // The name is this server's alone: another one on the same port would answer as well.
      if (members?.[0]?.name !== this.#name) throw new Error('this is another etcd');
    });
  }

  /** Calls etcd's API as JSON. */
  async #call(method: string, body: Readonly<Record<string, unknown>>): Promise<EtcdAnswer> {
    const response = await fetch(`${this.url}/v3/${method}`, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`etcd answers ${method} with ${response.status}: ${await response.text()}`);
    return (await response.json()) as EtcdAnswer;
  }
}
