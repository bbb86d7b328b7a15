/** A real PostgreSQL server on a free port, with its data in a temporary folder. */
import { execFile as execFileOf } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, constants, cp, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { ensurePostgres } from '../../hack/components/postgres.mjs';
import { type Certificates, makeCertificates } from './certificates.ts';
import { until } from './server.ts';
import { onFreePort, onSamePort, ServerProcess } from './server-process.ts';

const execFile = promisify(execFileOf);
/** PostgreSQL refuses to run as root; this user exists everywhere and owns nothing. */
const NOBODY = 65_534;
const STOP_SIGNALS = { fast: 'SIGINT', immediate: 'SIGQUIT' } as const;

/** Programs of a server; see hack/components/postgres.mjs. */
export type Postgres = Awaited<ReturnType<typeof ensurePostgres>>;

export interface PostgresServerInit {
  /** With a certificate of an authority of its own; connections without TLS are refused. */
  readonly tls?: boolean;
  /** Write through to the disk. Tests do without: they end servers, not machines. */
  readonly fsync?: boolean;
  /** More settings, as in postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>;
  /** The programs; the default is what the component finds. */
  readonly programs?: Postgres;
}

export class PostgresServer {
  readonly host = '127.0.0.1';
  readonly user = 'narwhal';
  readonly password = randomBytes(18).toString('base64url');
  /** Holds the data, the log and the certificates. */
  readonly folder: string;
  readonly #init: PostgresServerInit;
  #port = 0;
  #bin = '';
  #env: NodeJS.ProcessEnv = {};
  #process: ServerProcess | undefined;
  #certificates: Certificates | undefined;

  private constructor(folder: string, init: PostgresServerInit) {
    this.folder = folder;
    this.#init = init;
  }

  static async start(init: PostgresServerInit = {}): Promise<PostgresServer> {
    const server = new PostgresServer(await mkdtemp(path.join(os.tmpdir(), 'narwhal-postgres-')), init);
    try {
      await server.#initialize();
      await onFreePort((port) => server.#startOn(port));
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  get port(): number {
    return this.#port;
  }

  /** Of the process that starts one for each connection. */
  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** The certificate of the authority, as PEM; empty without TLS. */
  get ca(): string {
    return this.#certificates?.ca ?? '';
  }

  /** The file of `ca`, for `sslrootcert`. */
  get caFile(): string {
    return this.#certificates?.caFile ?? '';
  }

  /** `postgres://narwhal:password@127.0.0.1:port/database` */
  url(database = 'postgres'): string {
    return `postgres://${this.user}:${this.password}@${this.host}:${this.#port}/${encodeURIComponent(database)}`;
  }

  /** Makes an empty database; its URL. */
  async createDatabase(name = `test_${randomBytes(6).toString('hex')}`): Promise<string> {
    await this.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
    return this.url(name);
  }

  /** Resolves once some session waits for a lock that another one has. */
  async untilBlocked(): Promise<void> {
    const text = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
    await until('a session waits for another', async () => (await this.query(text)).length > 0);
  }

  /** The rows of a statement, on a connection of its own. */
  async query<Row extends pg.QueryResultRow>(
    sql: string,
    { database = 'postgres', values = [] }: { database?: string; values?: unknown[] } = {},
  ): Promise<Row[]> {
    const client = new pg.Client({
      connectionString: this.url(database),
      ...(this.#certificates === undefined ? {} : { ssl: { ca: this.ca } }),
    });
    // Without a listener, the loss of an idle connection would end the process.
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query<Row>(sql, values)).rows;
    } finally {
      await client.end();
    }
  }

  /** `fast` ends all sessions and writes everything down; `immediate` is a crash of the server. */
  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#process?.stop(STOP_SIGNALS[mode]);
  }

  /** Starts it again on the same port with the same data, after a crash by recovery. */
  async restart(): Promise<void> {
    await this.stop();
    await onSamePort(() => this.#startOn(this.#port));
  }

  /** Stops the server and removes its data. */
  async remove(): Promise<void> {
    await this.stop('immediate');
    await rm(this.folder, { recursive: true, force: true });
  }

  get #data(): string {
    return path.join(this.folder, 'data');
  }

  get #uid(): number | undefined {
    return process.getuid?.() === 0 ? NOBODY : undefined;
  }

  async #initialize(): Promise<void> {
    await this.#ownedByServer(this.folder);
    await this.#findPrograms();
    if (this.#init.tls) {
      this.#certificates = await makeCertificates(path.join(this.folder, 'tls'));
      await this.#ownedByServer(path.join(this.folder, 'tls'));
      for (const name of await readdir(path.join(this.folder, 'tls')))
        await this.#ownedByServer(path.join(this.folder, 'tls', name));
    }
    const passwordFile = path.join(this.folder, 'password');
    await writeFile(passwordFile, this.password, { mode: 0o600 });
    await this.#ownedByServer(passwordFile);
    const flags = [`--username=${this.user}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256'];
    // --no-sync: what a power cut would leave of a test's data is nobody's concern.
    const more = ['--locale=C', '--encoding=UTF8', '--no-sync'];
    await execFile(path.join(this.#bin, 'initdb'), ['-D', this.#data, ...flags, ...more], {
      env: this.#env,
      cwd: this.folder,
      ...(this.#uid === undefined ? {} : { uid: this.#uid, gid: this.#uid }),
    });
    if (this.#init.tls) {
      const hba = path.join(this.#data, 'pg_hba.conf');
      await writeFile(hba, 'hostssl all all 127.0.0.1/32 scram-sha-256\n');
    }
  }

  /** Where the programs are and what they need. Those in a home of root are copied: the server's user cannot enter it. */
  async #findPrograms(): Promise<void> {
    const { bin, root, env } = this.#init.programs ?? (await ensurePostgres());
    let place = root;
    this.#bin = bin;
    if (root !== undefined && this.#uid !== undefined && !(await isOpenToAll(root))) {
      place = path.join(this.folder, 'programs');
      await cp(root, place, { recursive: true, verbatimSymlinks: true, mode: constants.COPYFILE_FICLONE });
      this.#bin = path.join(place, path.relative(root, bin));
    }
    // Nothing of ours: PGDATA, PGPORT and others would take part.
    this.#env = { PATH: process.env.PATH, LC_ALL: 'C', ...env(place ?? '') };
    if (this.#uid !== undefined && !(await isOpenToAll(os.tmpdir())))
      throw new Error(`PostgreSQL does not run as root, and another user cannot enter ${os.tmpdir()}: set TMPDIR`);
  }

  async #ownedByServer(name: string): Promise<void> {
    if (this.#uid !== undefined) await chown(name, this.#uid, this.#uid);
  }

  async #startOn(port: number): Promise<void> {
    this.#port = port;
    const tls = this.#certificates;
    const settings = {
      listen_addresses: this.host,
      port: String(port),
      unix_socket_directories: '',
      fsync: this.#init.fsync ? 'on' : 'off',
      ...(tls === undefined ? {} : { ssl: 'on', ssl_cert_file: tls.certFile, ssl_key_file: tls.keyFile }),
      ...this.#init.settings,
    };
    const server = new ServerProcess({
      words: [
        path.join(this.#bin, 'postgres'),
        ...['-D', this.#data],
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      env: this.#env,
      cwd: this.folder,
      log: path.join(this.folder, 'log'),
      uid: this.#uid,
      lastSignal: STOP_SIGNALS.immediate,
    });
    this.#process = server;
    // Only this server knows the password: an answer cannot be that of another one on the same port.
    await server.untilReady(() =>
      this.query('SELECT 1').then(
        () => true,
        () => false,
      ),
    );
  }
}

/** Whether any user may enter the folder. */
async function isOpenToAll(folder: string): Promise<boolean> {
  for (let place = path.resolve(folder); ; place = path.dirname(place)) {
    if (((await stat(place)).mode & 0o001) === 0) return false;
    if (place === path.dirname(place)) return true;
  }
}
