/** Downloads on bare sockets: bytes are counted and thrown away, so that the client takes as little of the machine as it can. */
import net from 'node:net';
import { timed } from './push.ts';

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
}

const BUFFER_BYTES = 512 * 1024;
const HEAD_END = '\r\n\r\n';

/** One keep-alive connection, one request at a time. */
class Connection {
  /** Of bodies; those that are still under way count too. */
  received = 0;
  readonly #socket: net.Socket;
  readonly #host: string;
  #head = '';
  #left = 0;
  #answer: Answer | undefined;
  #settle: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;

  constructor(origin: string) {
    const { hostname, port, host } = new URL(origin);
    this.#host = host;
    const buffer = Buffer.alloc(BUFFER_BYTES);
    this.#socket = net.connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer,
        callback: (size) => {
          this.#take(buffer.subarray(0, size));
          return true;
        },
      },
    });
    this.#socket.on('error', (error) => this.#settle?.reject(error));
    this.#socket.on('close', () => this.#settle?.reject(new Error('the server closed the connection')));
  }

  get(target: string): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(`GET ${target} HTTP/1.1\r\nHost: ${this.#host}\r\n\r\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    let body = bytes.length;
    if (this.#answer === undefined) {
      const seen = this.#head.length;
      this.#head += bytes.toString('latin1');
      const end = this.#head.indexOf(HEAD_END);
      if (end < 0) return;
      body = bytes.length - (end + HEAD_END.length - seen);
      const head = this.#head.slice(0, end);
      this.#head = '';
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      this.#answer = { status: Number(head.slice(9, 12)), location: /\r\nlocation: *(\S+)/i.exec(head)?.[1] };
    }
    this.received += body;
    this.#left -= body;
    if (this.#left > 0) return;
    const answer = this.#answer;
    this.#answer = undefined;
    this.#settle?.resolve(answer);
  }
}

export interface PullInit {
  readonly origin: string;
  /** Paths, asked for in turn. */
  readonly targets: readonly string[];
  readonly connections: number;
  readonly seconds: number;
}

/** Megabytes a second, of the bytes that arrived in the time; redirects are followed. */
export async function pull({ origin, targets, connections, seconds }: PullInit): Promise<number> {
  const open: Connection[] = [];
  const connect = (to: string) => {
    const connection = new Connection(to);
    open.push(connection);
    return connection;
  };
  let next = 0;
  let isOver = false;
  const worker = async () => {
    const near = connect(origin);
    /** Where redirects lead to: one service. */
    let far: Connection | undefined;
    while (!isOver) {
      const { status, location } = await near.get(targets[next++ % targets.length] ?? '/');
      if (status === 200) continue;
      if (status !== 302 || location === undefined) throw new Error(`${origin} answered ${status}`);
      const { origin: service, pathname, search } = new URL(location);
      far ??= connect(service);
      const answer = await far.get(`${pathname}${search}`);
      if (answer.status !== 200) throw new Error(`${service} answered ${answer.status}`);
    }
  };
  let received = 0;
  const elapsed = await timed(async () => {
    const working = Promise.all(Array.from({ length: connections }, worker));
    const timer = new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    await Promise.race([timer, working]);
    isOver = true;
    received = open.reduce((sum, connection) => sum + connection.received, 0);
    for (const connection of open) connection.close();
    // What is cut off by us ends with an error.
    working.catch(() => {});
  });
  return received / 1e6 / elapsed;
}
