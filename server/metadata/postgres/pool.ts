/** Connections that requests share: a bounded number of them, lent for one statement or transaction at a time. */
import pg from 'pg';
import { DatabaseUnavailableError } from '../errors.ts';
import { CONNECT_MS, clientConfig, limited, type SessionInit, sessionText } from './connection.ts';
import { explain, isLost, isPassing, shortly } from './errors.ts';
import { atMost, Sockets } from './sockets.ts';

export interface PoolInit extends SessionInit {
  readonly maxConnections: number;
}

/** Connections by what they do now. */
export interface PoolCounts {
  readonly total: number;
  readonly idle: number;
  /** Calls that wait for one. */
  readonly waiting: number;
}

const IDLE_MS = 60_000;
const ROLLBACK_MS = 2_000;
const CLOSE_MS = 2_000;

export class Pool {
  readonly #init: PoolInit;
  readonly #pool: pg.Pool;
  readonly #sockets = new Sockets();

  constructor(init: PoolInit) {
    this.#init = init;
    this.#pool = new pg.Pool({
      ...clientConfig(init),
      stream: this.#sockets.make,
      max: init.maxConnections,
      idleTimeoutMillis: IDLE_MS,
      onConnect: async (client) => {
        // A connection that is lost while it is lent says so to its statement; nobody else needs to hear of it.
        client.on('error', () => {});
        await client.query(limited(sessionText(init), CONNECT_MS));
      },
    } satisfies pg.PoolConfig);
    // A connection that is lost while it is idle is simply no longer there.
    this.#pool.on('error', () => {});
  }

  get counts(): PoolCounts {
    const { totalCount: total, idleCount: idle, waitingCount: waiting } = this.#pool;
    return { total, idle, waiting };
  }

  /**
   * Lends a connection to `work`. Waits for one for as long as connecting may take, no longer.
   * @throws DatabaseUnavailableError where the server refuses us: no statement of a request can mend that
   */
  async lend<T>(work: (client: pg.ClientBase) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect().catch((error: unknown) => {
      if (isPassing(error)) throw error;
      throw new DatabaseUnavailableError(explain(error, this.#init.target())?.message ?? shortly(error), {
        cause: error,
      });
    });
    try {
      const result = await work(client);
      client.release();
      return result;
    } catch (error) {
      client.release(isLost(error) || !(await rollBack(client)));
      throw error;
    }
  }

  /** Closes what is idle and waits for what is lent, but not for a server that is gone. */
  async close(): Promise<void> {
    await atMost(this.#pool.end(), CLOSE_MS);
    this.#sockets.destroy();
  }
}

/** Ends whatever transaction a failed statement has left open. Whether the connection can be used again. */
async function rollBack(client: pg.ClientBase): Promise<boolean> {
  // As of before the statement: one that failed outside of BEGIN and COMMIT has undone itself.
  if (client.getTransactionStatus() === 'I') return true;
  return client.query(limited('ROLLBACK', ROLLBACK_MS)).then(
    () => true,
    () => false,
  );
}
