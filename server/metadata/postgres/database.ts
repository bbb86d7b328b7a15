/**
 * A cache's schema of a PostgreSQL database, shared by several servers. Reads take any connection of the pool; writes
 * go through a few queues with group commit, which leaves connections to the reads, and one fsync and one NOTIFY to
 * many writes. What fails for a reason that passes is tried again: a connection that was lost, a server that restarts.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientBase, QueryResultRow } from 'pg';
import type { Logger } from 'pino';
import type { ChangeListener, Database } from '../database.ts';
import { DatabaseUnavailableError } from '../errors.ts';
import { Pauses } from '../retry.ts';
import type { SqlValue, Statement } from '../sql.ts';
import { type Durability, type Patience, type Write, Writer } from '../writer.ts';
import { runQuery, runScript, runTransaction } from './connection.ts';
import { isConflict, isPassing, shortly } from './errors.ts';
import { Listener } from './listener.ts';
import { Pool, type PoolCounts } from './pool.ts';
import { prepareSchema } from './schema.ts';
import { atMost } from './sockets.ts';
import type { PostgresTarget } from './target.ts';

export interface PostgresDatabaseInit {
  readonly target: PostgresTarget;
  /** Belongs to one cache alone. */
  readonly schema: string;
  /** Version of this server, which the schema may find too old. */
  readonly version: string;
  readonly logger: Logger;
  /** Default 10. */
  readonly maxConnections?: number;
  /** Longest statement; default 30 s. */
  readonly timeoutMs?: number;
  /** How long a database is waited for that cannot be reached at the start; default 30 s. */
  readonly waitMs?: number;
  /** How long a read is tried; default 10 s. */
  readonly readPatienceMs?: number;
  /** How long a write is tried; default 120 s. */
  readonly writePatienceMs?: number;
  readonly onCommit?: (milliseconds: number, writes: number) => void;
}

const READ_PATIENCE_MS = 10_000;
const WRITE_PATIENCE_MS = 120_000;
/** Between two looks for transactions that have not ended. */
const SETTLE_MS = 50;
/** What a stop waits for writes that are under way. */
const LAST_WRITES_MS = 5_000;
const PING_MS = 2_000;
/** Small enough that a transaction holds its locks for a short time. */
const BATCH = 64;
/** A payload of NOTIFY has less than 8000 bytes; a hash part and a space have 33. */
const HASHES_A_NOTE = 200;

export class PostgresDatabase implements Database {
  readonly isShared = true;
  readonly bytewise = ' COLLATE "C"';
  readonly #init: PostgresDatabaseInit;
  readonly #pool: Pool;
  readonly #writers: readonly Writer[];
  readonly #listener: Listener;
  readonly #channel: string;
  #target: PostgresTarget;
  #isClosing = false;
  /** Whether the last attempt of anything failed. */
  #troubled = false;

  private constructor(init: PostgresDatabaseInit) {
    const { maxConnections = 10, timeoutMs = 30_000, schema } = init;
    this.#init = init;
    this.#target = init.target;
    this.#channel = channelOf(schema);
    const session = { target: () => this.#target, schema, timeoutMs };
    this.#pool = new Pool({ ...session, maxConnections });
    this.#writers = Array.from({ length: Math.max(1, Math.floor(maxConnections / 2)) }, () => this.#writer());
    this.#listener = new Listener({
      ...session,
      channel: this.#channel,
      onState: (state, reason) => {
        if (state === 'lost') init.logger.warn({ reason: shortly(reason) }, 'changes of other servers are not heard');
        else init.logger.debug('changes of other servers are heard');
      },
    });
  }

  /**
   * Connects, and brings the schema up to date.
   * @throws DatabaseError with a line for the person who set it up, NewerDatabaseError
   */
  static async open(init: PostgresDatabaseInit): Promise<PostgresDatabase> {
    const { target, schema, version, logger, waitMs = 30_000 } = init;
    await prepareSchema({ target, schema, version, logger, waitMs });
    return new PostgresDatabase(init);
  }

  #writer(): Writer {
    const patienceMs = () => this.#writePatienceMs;
    const patience: Patience = {
      get ms() {
        return patienceMs();
      },
      isPassing,
      isConflict,
      giveUp: unavailable,
      onRetry: (error) => this.#trouble(error),
    };
    return new Writer({
      transaction: (work) => this.#lend((client) => runTransaction(client, work)),
      script: async (statements, durability) => {
        await this.#lend((client) => runScript(client, statements, durability));
      },
      maxBatch: BATCH,
      patience,
      ...(this.#init.onCommit && { onCommit: this.#init.onCommit }),
    });
  }

  get #writePatienceMs(): number {
    return this.#isClosing ? 0 : (this.#init.writePatienceMs ?? WRITE_PATIENCE_MS);
  }

  async #lend<T>(work: (client: ClientBase) => Promise<T>): Promise<T> {
    const result = await this.#pool.lend(work);
    if (this.#troubled) {
      this.#troubled = false;
      this.#init.logger.info('the database answers again');
    }
    return result;
  }

  /** One line an outage, not one a request. */
  #trouble(error: unknown): void {
    if (isConflict(error) || this.#troubled) return;
    this.#troubled = true;
    this.#init.logger.warn(
      { reason: shortly(error) },
      'the database does not answer; what waits for it is tried again',
    );
  }

  isOneOf(column: string): string {
    return `${column} = ANY(?)`;
  }

  each(name: string): string {
    return `unnest(CAST(? AS text[])) AS ${name} (value)`;
  }

  list(values: readonly string[] | readonly number[]): SqlValue {
    return values;
  }

  announce(hashParts: readonly string[]): Statement[] {
    const notes: Statement[] = [];
    for (let start = 0; start < hashParts.length; start += HASHES_A_NOTE)
      notes.push(['SELECT pg_notify(?, ?)', this.#channel, hashParts.slice(start, start + HASHES_A_NOTE).join(' ')]);
    return notes;
  }

  get announcing(): string {
    return ` RETURNING pg_notify('${this.#channel}', hash_part)`;
  }

  async settled(signal: AbortSignal): Promise<void> {
    const [now] = await this.query<{ next: string }>('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS next');
    for (;;) {
      // Of all databases of the server, which share their numbers; those that only read have none.
      const [oldest] = await this.query<{ over: boolean }>(
        'SELECT pg_snapshot_xmin(pg_current_snapshot()) >= CAST(? AS xid8) AS over',
        [now?.next ?? '0'],
      );
      if (oldest?.over) return;
      await sleep(SETTLE_MS, undefined, { signal });
    }
  }

  watch(listener: ChangeListener): () => void {
    return this.#listener.add(listener);
  }

  /** @throws DatabaseUnavailableError once it was tried for as long as a read may take */
  query<Row>(text: string, values: readonly SqlValue[] = []): Promise<Row[]> {
    const patienceMs = this.#init.readPatienceMs ?? READ_PATIENCE_MS;
    return this.#patiently(
      () => patienceMs,
      (client) => runQuery<Row>(client, text, values),
    );
  }

  /** Not in the queues: there its rows would be those of a transaction that others may undo. */
  together<Row>(statements: readonly Statement[]): Promise<Row[][]> {
    return this.#patiently(
      () => this.#writePatienceMs,
      async (client) => {
        const start = performance.now();
        const rows = await runScript<Row & QueryResultRow>(client, statements, 'disk');
        this.#init.onCommit?.(performance.now() - start, 1);
        return rows;
      },
    );
  }

  async #patiently<T>(patienceMs: () => number, work: (client: ClientBase) => Promise<T>): Promise<T> {
    const since = performance.now();
    const pauses = new Pauses();
    for (;;) {
      try {
        return await this.#lend(work);
      } catch (error) {
        if (!isPassing(error)) throw error;
        if (performance.now() + pauses.nextMs > since + patienceMs()) throw unavailable(error);
        this.#trouble(error);
        await pauses.pause();
      }
    }
  }

  /** One look, without patience: for those who ask how it is. */
  async ping(): Promise<void> {
    await this.#pool
      .lend((client) => runQuery(client, 'SELECT 1', [], PING_MS))
      .catch((error: unknown) => {
        throw isPassing(error) ? unavailable(error) : error;
      });
  }

  async freeBytes(): Promise<undefined> {}

  write<T>(write: Write<T>): Promise<T> {
    return this.#leastBusy().write(write);
  }

  async script(statements: readonly Statement[], durability: Durability = 'disk'): Promise<void> {
    if (statements.length === 0) return;
    await this.#leastBusy().script(statements, durability);
  }

  #leastBusy(): Writer {
    const [first, ...others] = this.#writers;
    if (first === undefined) throw new Error('no writer');
    let best = first;
    for (const writer of others) {
      if (best.isIdle) break;
      if (writer.isIdle || writer.length < best.length) best = writer;
    }
    return best;
  }

  get queueLength(): number {
    return this.#writers.reduce((sum, writer) => sum + writer.length, 0);
  }

  get connections(): PoolCounts {
    return this.#pool.counts;
  }

  /** Uses another password from the next connection on. False: it is another database, which a restart must open. */
  useTarget(target: PostgresTarget): boolean {
    if (!target.isSameAs(this.#target)) return false;
    this.#target = target;
    return true;
  }

  /** Finishes what waits, if the server answers; what is cut off here was not acknowledged. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#listener.close();
    await atMost(Promise.all(this.#writers.map((writer) => writer.idle())), LAST_WRITES_MS);
    await this.#pool.close();
  }
}

/** Channels are of a whole database, so each schema has its own; a name has at most 63 bytes. */
function channelOf(schema: string): string {
  return `narwhal_${createHash('sha256').update(schema).digest('hex').slice(0, 32)}`;
}

function unavailable(error: unknown): DatabaseUnavailableError {
  if (error instanceof DatabaseUnavailableError) return error;
  return new DatabaseUnavailableError(`the database does not answer: ${shortly(error)}`, { cause: error });
}
