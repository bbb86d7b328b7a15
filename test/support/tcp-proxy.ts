/** A TCP proxy whose connections a test cuts, freezes or refuses: a network that fails in front of a server. */
import net from 'node:net';

export interface TcpTarget {
  readonly host: string;
  readonly port: number;
}

interface Pair {
  readonly near: net.Socket;
  /** Absent as long as the proxy was paused when the client came. */
  far: net.Socket | undefined;
}

export class TcpProxy {
  readonly host = '127.0.0.1';
  /** Where new connections go. */
  target: TcpTarget;
  #server: net.Server | undefined;
  #port = 0;
  #paused = false;
  readonly #pairs = new Set<Pair>();
  #accepted = 0;

  private constructor(target: TcpTarget) {
    this.target = target;
  }

  static async start(target: TcpTarget): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await proxy.#listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  /** How many clients are connected. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** How many connections there have been. */
  get accepted(): number {
    return this.#accepted;
  }

  /** A URL of the target, led through this proxy. */
  through(url: string): string {
    const proxied = new URL(url);
    proxied.host = `${this.host}:${this.#port}`;
    return proxied.href;
  }

  /** Ends all connections by a reset, on both sides. New ones are served. */
  cut(): void {
    for (const { near, far } of this.#pairs) {
      near.resetAndDestroy();
      far?.resetAndDestroy();
    }
    this.#pairs.clear();
  }

  /**
   * A network that swallows everything: connections stay open and carry nothing, neither side hears that the other has
   * gone. New ones are taken by the system, as always, and get no further.
   */
  pause(): void {
    this.#paused = true;
    for (const { near, far } of this.#pairs) {
      near.unpipe();
      far?.unpipe();
    }
  }

  /** Goes on: what was sent meanwhile arrives, and who has gone is gone. */
  resume(): void {
    this.#paused = false;
    for (const pair of this.#pairs) this.#join(pair);
  }

  /** Whether new connections are refused. Those that exist live on. */
  async refuse(refused: boolean): Promise<void> {
    if (!refused) {
      if (this.#server === undefined) await this.#listen();
      return;
    }
    // Not awaited: a server has closed only when its last connection has.
    this.#server?.close();
    this.#server = undefined;
  }

  async close(): Promise<void> {
    await this.refuse(true);
    this.cut();
  }

  async #listen(): Promise<void> {
    const server = net.createServer((near) => this.#take(near));
    await new Promise<void>((resolve, reject) => {
      server.on('error', reject);
      server.listen(this.#port, this.host, resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('a TCP server has a port');
    this.#port = address.port;
    this.#server = server;
  }

  #take(near: net.Socket): void {
    this.#accepted += 1;
    const pair: Pair = { near, far: undefined };
    this.#pairs.add(pair);
    this.#watch(pair, near);
    if (!this.#paused) this.#join(pair);
  }

  #join(pair: Pair): void {
    if (pair.near.destroyed || pair.far?.destroyed) {
      this.#part(pair);
      return;
    }
    if (pair.far === undefined) {
      pair.far = net.connect({ ...this.target });
      this.#watch(pair, pair.far);
    }
    pair.near.pipe(pair.far);
    pair.far.pipe(pair.near);
  }

  #watch(pair: Pair, socket: net.Socket): void {
    socket.setNoDelay();
    socket.on('error', () => {});
    socket.on('close', () => {
      if (!this.#paused) this.#part(pair);
    });
  }

  #part(pair: Pair): void {
    // Soon: the last words of a server, such as why it ends a session, are still to be written.
    pair.near.destroySoon();
    pair.far?.destroySoon();
    this.#pairs.delete(pair);
  }
}
