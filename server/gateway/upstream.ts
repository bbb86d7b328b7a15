/** The servers of one cache: connections that reads share, connections of their own for the rest, and how they fare. */
import http from 'node:http';
import type { Socket } from 'node:net';
import { Budget, type BudgetInit } from '../shares/index.ts';
import { Circuit, type CircuitState } from './circuit.ts';
import { openLine } from './line.ts';

export interface UpstreamInit {
  /** `http://host:port` */
  readonly url: string;
  readonly connectTimeoutMs: number;
  /** How many requests are under way at one time, and what stands still. */
  readonly requests: BudgetInit;
  readonly onCircuit: (state: CircuitState) => void;
}

/** No connection could be made. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** Between two tries for one request while the circuit is closed. */
const PAUSE_MS = 100;
/** Shorter than what servers leave an idle connection (75 s): a request must not meet its end. */
const IDLE_MS = 60_000;
const IDLE_CONNECTIONS = 64;

export class Upstream {
  readonly url: string;
  readonly circuit: Circuit;
  readonly host: string;
  readonly port: number;
  readonly #pool: Pool;
  readonly #timeoutMs: number;
  /** Places for requests under way. */
  readonly requests: Budget;

  constructor({ url, connectTimeoutMs, requests, onCircuit }: UpstreamInit) {
    const { hostname, port } = new URL(url);
    this.url = url;
    this.host = hostname.replace(/^\[|\]$/g, '');
    this.port = Number(port || 80);
    this.circuit = new Circuit(onCircuit);
    this.requests = new Budget(requests);
    this.#timeoutMs = connectTimeoutMs;
    this.#pool = new Pool(connectTimeoutMs);
  }

  /** For reads: may be repeated, so they may meet the end of a connection that others used before. */
  get pool(): http.Agent {
    return this.#pool;
  }

  /** Whether a socket of the pool was ever connected: if not, nothing was sent. */
  wasConnected(socket: Socket | null): boolean {
    return socket !== null && this.#pool.connected.has(socket);
  }

  /**
   * A new connection, for one request that cannot be repeated. Tried again for `waitMs`, since its client may not be able
   * to. @throws UnreachableError, or the signal's reason
   */
  async connect(waitMs: number, signal: AbortSignal): Promise<Socket> {
    const deadline = performance.now() + waitMs;
    let reason: unknown = 'the circuit is open';
    for (;;) {
      const attempt = this.circuit.admit();
      if (attempt !== undefined) {
        try {
          const socket = await dial(this.host, this.port, this.#timeoutMs, signal);
          attempt.succeeded();
          return socket;
        } catch (error) {
          if (signal.aborted) attempt.dropped();
          else attempt.failed();
          reason = error;
        }
      }
      signal.throwIfAborted();
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new UnreachableError('no connection could be made', { cause: reason });
      // After a failure of ours a moment; while others try, until they know more.
      await within(
        Math.min(leftMs, attempt === undefined ? leftMs : PAUSE_MS),
        signal,
        attempt === undefined ? this.circuit.changed() : undefined,
      );
    }
  }

  /** It has left the table: what runs may end, and nothing is kept for later. */
  retire(): void {
    this.#pool.retire();
  }
}

/** Connections that are used again. */
class Pool extends http.Agent {
  readonly connected = new WeakSet<Socket>();
  readonly #connectTimeoutMs: number;

  constructor(connectTimeoutMs: number) {
    super({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: IDLE_CONNECTIONS, scheduling: 'lifo' });
    this.#connectTimeoutMs = connectTimeoutMs;
  }

  override createConnection(options: { host?: string | null; port?: number | string | null }): Socket {
    const socket = openLine(String(options.host), Number(options.port));
    const timer = setTimeout(() => socket.destroy(late(this.#connectTimeoutMs)), this.#connectTimeoutMs);
    socket.once('connect', () => {
      clearTimeout(timer);
      this.connected.add(socket);
    });
    socket.once('close', () => clearTimeout(timer));
    return socket;
  }

  retire(): void {
    // A property of every agent that its types do not know.
    Object.assign(this, { keepAlive: false });
    for (const sockets of Object.values(this.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
  }
}

function late(timeoutMs: number): Error {
  return new Error(`not connected after ${timeoutMs / 1000} s`);
}

async function dial(host: string, port: number, timeoutMs: number, signal: AbortSignal): Promise<Socket> {
  const socket = openLine(host, port);
  const giveUp = () => socket.destroy(signal.reason);
  const timer = setTimeout(() => socket.destroy(late(timeoutMs)), timeoutMs);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return socket;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
  }
}

/** Waits for `ms`, for `earlier` or for the signal, whatever is first. @throws the signal's reason */
async function within(ms: number, signal: AbortSignal, earlier: Promise<void> | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason);
  const timer = setTimeout(resolve, ms);
  signal.addEventListener('abort', onAbort, { once: true });
  earlier?.then(resolve);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
